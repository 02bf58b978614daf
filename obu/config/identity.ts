import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { codeOf, type IdentityState, IdentityWatch, isGood } from '../../shared/identity/identity-watch.ts';
import type { EventLog } from '../telemetry/event-log.ts';
import type { ObuConfig } from './config.ts';

export interface IdentityReporters {
  readonly events: EventLog;
  readonly errors: RecentErrors;
  readonly log: Logger;
}

/** Watches the identity that the configuration names, and tells people about it. Undefined: it names none. */
export function watchIdentity(
  { identity: dir, vehicle }: Pick<ObuConfig, 'identity' | 'vehicle'>,
  { events, errors, log }: IdentityReporters,
): IdentityWatch | undefined {
  if (dir === undefined) return undefined;
  const say = (state: IdentityState) => {
    const { word, reason, folderFault } = state;
    const until = state.expiresAtMs === undefined ? '' : `valid until ${new Date(state.expiresAtMs).toISOString()}`;
    events.add('identity', vehicle, word, reason || until);
    if (reason === '') log.info({ path: dir }, `the identity of this vehicle is good: ${until}`);
    else {
      errors.add('identity', codeOf(word), reason);
      log.warn({ path: dir, state: word, code: codeOf(word), reason }, 'the identity of this vehicle needs attention');
    }
    if (folderFault === '') return;
    const fault = `what is in the identity folder now is not used, and that of before goes on: ${folderFault}`;
    events.add('identity', vehicle, 'NotRenewed', fault);
    errors.add('identity', codeOf('Unusable'), fault);
    log.warn({ path: dir, reason: folderFault }, 'the identity folder has changed and cannot be used');
  };
  return new IdentityWatch({
    dir,
    kind: 'vehicle',
    id: vehicle,
    onState: say,
    onRenewed: ({ self }) =>
      events.add('identity', vehicle, 'Renewed', `valid until ${new Date(self.expiresAt).toISOString()}`),
  });
}

/** For `GET /v1/status`. */
export function identityStatus(watch: IdentityWatch): {
  readonly state: string;
  readonly good: boolean;
  readonly reason: string;
  readonly expiresAt: string;
} {
  const { word, reason, folderFault, expiresAtMs } = watch.state;
  const fault = folderFault && `what is in its folder now is not used: ${folderFault}`;
  return {
    state: word,
    good: isGood(word),
    reason: [reason, fault].filter((one) => one !== '').join('; '),
    expiresAt: expiresAtMs === undefined ? '' : new Date(expiresAtMs).toISOString(),
  };
}

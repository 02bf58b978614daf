import { type IdentityState, IdentityWatch, isGood } from '../../shared/identity/identity-watch.ts';
import type { Report } from '../telemetry/report.ts';
import type { ObuConfig } from './config.ts';

/** Watches the identity that the configuration names, and reports what becomes of it. Undefined: it names none. */
export function watchIdentity(
  { identity: path, vehicle }: Pick<ObuConfig, 'identity' | 'vehicle'>,
  report: Report,
): IdentityWatch | undefined {
  if (path === undefined) return undefined;
  return new IdentityWatch({
    dir: path,
    kind: 'vehicle',
    id: vehicle,
    onState: (state: IdentityState) => report({ event: 'identity-state', path, state }),
    onRenewed: ({ self }) => report({ event: 'identity-renewed', expiresAt: self.expiresAt }),
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
  const fault = folderFault && `the changed identity folder is not used: ${folderFault}`;
  return {
    state: word,
    good: isGood(word),
    reason: [reason, fault].filter((one) => one !== '').join('; '),
    expiresAt: expiresAtMs === undefined ? '' : new Date(expiresAtMs).toISOString(),
  };
}

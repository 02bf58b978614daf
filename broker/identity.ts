import type { RecentErrors } from '../shared/api/recent-errors.ts';
import type { Logger } from '../shared/base/log.ts';
import type { Identity } from '../shared/identity/identity.ts';
import { codeOf, IdentityWatch } from '../shared/identity/identity-watch.ts';

export interface BrokerIdentityOptions {
  readonly dir: string;
  readonly id: string;
  readonly errors: RecentErrors;
  /** The folder holds another one now, which is good. */
  readonly onRenewed: (identity: Identity) => void;
  readonly log: Logger;
}

/** Watches the identity of a broker that runs: it is renewed without a restart, and people are told when it must be. */
export function watchBrokerIdentity({ dir, id, errors, onRenewed, log }: BrokerIdentityOptions): IdentityWatch {
  return new IdentityWatch({
    dir,
    kind: 'broker',
    id,
    onState: ({ word, reason, folderFault }) => {
      for (const sentence of [reason, folderFault]) {
        if (sentence === '') continue;
        errors.add('identity', codeOf(word), sentence);
        log.warn(
          { broker: id, path: dir, state: word, reason: sentence },
          'the identity of this broker needs attention',
        );
      }
    },
    onRenewed: (identity) => {
      log.info({ broker: id, path: dir }, 'the identity of this broker is renewed');
      onRenewed(identity);
    },
  });
}

import type { Logger } from '../../../shared/base/log.ts';
import type { TenderGroups } from '../cgroups/tender-groups.ts';
import type { WishedIsolation } from './tender.ts';

export interface TenderProcessOptions {
  /** The unikernel image. It is read once, in `start()`. Without one, `give` says it later. */
  readonly imagePath?: string;
  readonly log: Logger;
  /** Default `auto`. */
  readonly isolation?: WishedIsolation;
  /** The user that a tender started by root becomes; default 65534 (nobody). */
  readonly user?: number;
  /** Control groups for tenders; without them no limit holds but the tender's own. */
  readonly groups?: TenderGroups;
  /** Memory, largest input and largest output of the task together, in bytes; undefined: as much as any may have. */
  readonly declaredBytes?: number;
  /** The program to run; default `tenderBinary()`. */
  readonly binary?: string;
}

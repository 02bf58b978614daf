import type { KerbError } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import type { Isolation, Tender, TenderOutcome } from '../process/tender.ts';

/** What came of a call: the tender's outcome, or why there is none. */
export type CallEnd =
  | { readonly outcome: TenderOutcome; readonly isolation: Isolation; readonly error?: undefined }
  | { readonly outcome?: undefined; readonly error: KerbError };

export interface PoolOptions {
  /** Names the pool: the digest of the package. */
  readonly name: string;
  /** For messages: name and version of the task. */
  readonly task: string;
  /** Bytes that one tender may hold by what its package declares. */
  readonly declaredBytes: number;
  readonly kept: boolean;
  /** Tenders that it may have. */
  readonly maxTenders: number;
  /** How long the most offloads at the same time are remembered, in milliseconds. */
  readonly idleMs: number;
  /** A fresh tender with a verified image; called for each life. @throws KerbError */
  readonly createTender: () => Promise<Tender>;
  /** A tender waits and takes calls. */
  readonly onWaiting: () => void;
  /** A tender died, would not start, or is refused for good. */
  readonly onTrouble: (error: KerbError) => void;
  /** Something has changed that a plan depends on. */
  readonly onChange: () => void;
  readonly log: Logger;
}

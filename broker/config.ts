import { availableParallelism } from 'node:os';
import type { AdmissionLimits } from './admission/admission.ts';
import { DEFAULT_PUSH_LIMITS, type PushLimits } from './packages/push-limits.ts';
import type { ResultLimits } from './results/results.ts';
import type { PoolLimits } from './tenders/pool/pool-plan.ts';
import type { WishedIsolation } from './tenders/process/tender.ts';

export interface BrokerConfig {
  /** Has to be the id in the certificate. */
  readonly id: string;
  /** Port 0: any free one. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly identityDir: string;
  readonly packagesDir: string;
  /** Public keys of the task signers whose packages are run; undefined: everything is run, signed or not. */
  readonly trustDir: string | undefined;
  /** For what has to outlive a connection: verified images. */
  readonly stateDir: string;
  /** Path of the control socket. */
  readonly apiSocket: string;
  /** For every task that leaves it open. */
  readonly isolation: WishedIsolation;
  /** Names of the tasks whose first tender is started with the broker and stays while there is room. */
  readonly prestart: 'all' | readonly string[];
  readonly limits: BrokerLimits;
  /** Undefined: nobody may push. */
  readonly push?: PushConfig;
}

export interface PushConfig {
  /** Whose vehicles may push. */
  readonly tenants: readonly string[];
  readonly limits: PushLimits;
  /** Bytes of input that a pushed task may take. */
  readonly maxInput: number;
}

export const NO_PUSHES: PushConfig = { tenants: [], limits: DEFAULT_PUSH_LIMITS, maxInput: 0 };

export interface BrokerLimits extends AdmissionLimits, PoolLimits {
  /** Results that are kept for all tenants together: their number, and bytes in memory and on the disk. */
  readonly maxCount: number;
  readonly maxBytes: number;
  readonly maxDiskBytes: number;
  readonly maxClients: number;
  readonly maxJoined: number;
  /** Tenders that wait for a task that none waits for. */
  readonly blankTenders: number;
  /** Milliseconds that running offloads get when the broker stops. */
  readonly stopMs: number;
}

/** Of a tenant that no policy names. */
export const DEFAULT_RESULT_LIMITS: ResultLimits = {
  count: 10_000,
  bytes: 64 * 1024 * 1024,
  keepMs: 3_600_000,
};

export const DEFAULT_LIMITS: BrokerLimits = {
  maxQueuedPerPackage: 256,
  maxQueuedPerTenant: 128,
  maxQueuedBytes: 64 * 1024 * 1024,
  maxBytes: 64 * 1024 * 1024,
  maxCount: 100_000,
  maxDiskBytes: 1024 * 1024 * 1024,
  maxClients: 1024,
  maxJoined: 16,
  blankTenders: 2,
  stopMs: 2000,
  tenderMemory: 512 * 1024 * 1024,
  maxTenders: 128,
  // One more than can run at once: while its answer is on its way, the core is not idle.
  maxTendersPerTask: availableParallelism() + 1,
  maxLoading: availableParallelism(),
  idleMs: 10_000,
  forgetMs: 60_000,
  tenureMs: 50,
};

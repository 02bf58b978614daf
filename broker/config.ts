import { availableParallelism } from 'node:os';
import type { ListenAddress } from '../shared/host/listen.ts';
import type { AdmissionLimits } from './admission/terms.ts';
import type { DiscoveryConfig } from './discovery/discovery-config.ts';
import { DEFAULT_PUSH_LIMITS, type PushLimits } from './packages/push-limits.ts';
import type { AuditConfig } from './telemetry/audit-config.ts';
import type { CgroupMode } from './tenders/cgroups/open-groups.ts';
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
  /** Tenders in control groups; default off. */
  readonly cgroups?: CgroupMode;
  /** For every task that leaves it open. */
  readonly isolation: WishedIsolation;
  /** Names of the tasks whose first tender is started with the broker and stays while there is room. */
  readonly prestart: 'all' | readonly string[];
  readonly limits: BrokerLimits;
  /** Folder in which verbs on this machine find the control socket; undefined: they do not. */
  readonly socketsDir?: string;
  /** The control API over TLS; undefined: only on the socket. */
  readonly api?: { readonly listen: ListenAddress; readonly operators: readonly string[] };
  /** Undefined: there is none. */
  readonly audit?: AuditConfig;
  /** Brokers that vehicles are sent to when this one stops. */
  readonly drainTo?: readonly string[];
  /** Undefined, and no policy: no tenant may push. */
  readonly push?: PushConfig;
  /** File with the keys that values and kept results are encrypted with on the disk; undefined: they are not. */
  readonly storageKeyFile?: string | undefined;
  /** Path of the policy. With one, it says who may push, and `push.tenants` is empty. */
  readonly policyFile?: string | undefined;
  /** How it is found; undefined: it announces nothing. */
  readonly discovery?: DiscoveryConfig;
  /** Addresses of neighbours of the policy, by their ids: "https://host:port". Others are found, or connect by themselves. */
  readonly neighbours?: ReadonlyMap<string, string>;
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
  readonly maxResults: number;
  readonly maxBytes: number;
  readonly maxDiskBytes: number;
  /** The state of sessions, of all tenants together. */
  readonly maxStateBytes: number;
  /** One tenant may have half of so many kept, where no policy says more. */
  readonly maxCount: number;
  readonly maxClients: number;
  readonly maxJoined: number;
  /** Tenders that wait for a task that none waits for. */
  readonly blankTenders: number;
  /** Milliseconds that running offloads get when the broker stops. */
  readonly stopMs: number;
}

export const DEFAULT_LIMITS: BrokerLimits = {
  maxQueuedPerPackage: 256,
  maxQueuedPerTenant: 128,
  maxQueuedBytes: 64 * 1024 * 1024,
  // No two share a core: each would take twice as long, and it could not be foreseen how long (docs/benchmarks.md).
  maxRunning: availableParallelism(),
  longRunMs: 50,
  yieldMs: 10,
  wayBackMs: 1,
  maxBytes: 64 * 1024 * 1024,
  maxCount: 10_000,
  maxResults: 100_000,
  maxDiskBytes: 1024 * 1024 * 1024,
  maxStateBytes: 512 * 1024 * 1024,
  maxClients: 8192,
  maxJoined: 16,
  blankTenders: 2,
  stopMs: 2000,
  tenderMemory: 512 * 1024 * 1024,
  maxTenders: 128,
  // One more than a tenant has running by default: it is left for the others.
  maxTendersPerTask: availableParallelism() + 2,
  maxLoading: availableParallelism(),
  idleMs: 10_000,
  forgetMs: 60_000,
  tenureMs: 50,
};

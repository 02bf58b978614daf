/**
 * The values of the policy file, which says who may what, as the rooms of the broker use them. `Infinity` stands for no limit.
 * Bytes, and milliseconds where a name ends with `Ms`.
 */
import type { KerbError } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import type { ServiceClass } from '../../shared/protocol/service-class.ts';

/** The limits of one tenant. */
export interface TenantPolicy {
  /** Its share of a class, against the weights of the other tenants that wait in it. */
  readonly weight: number;
  /** An offload of a more urgent class is run in this one. */
  readonly highestClass: ServiceClass;
  /** Offloads that wait or run. */
  readonly offloads: number;
  /** Offloads that run. */
  readonly running: number;
  readonly largestBudgetMs: number;
  /** Milliseconds after which a run is ended, whatever budget is left. */
  readonly longestRunMs: number;
  /** CPU time of its unikernels: it fills at `perMinuteMs` a minute up to `burstMs`. */
  readonly cpu: { readonly perMinuteMs: number; readonly burstMs: number };
  /** Bytes that its running tenders may come to hold together, as their packages declare. */
  readonly memory: number;
  /** Input of its offloads that wait or run. */
  readonly bytes: number;
  readonly results: ResultLimits;
  readonly state: StatePolicy;
  readonly packages: { readonly push: boolean; readonly count: number; readonly bytes: number };
  readonly connections: number;
  readonly connectionsPerVehicle: number;
  readonly requestsPerSecond: number;
  /** Answers that its clients have not read yet, over all connections. */
  readonly unread: number;
  /** `vm`: whatever it offloads is run in a virtual machine or not at all. */
  readonly isolation: 'any' | 'vm';
  /** Tenants that see and run what it pushed as well: names of tenants, `*` stands for any characters. Who may run also sees. */
  readonly shares: { readonly see: readonly string[]; readonly run: readonly string[] };
}

export interface ResultLimits {
  readonly count: number;
  readonly bytes: number;
  /** Longest time that a result is kept; a caller that asks for more gets this. */
  readonly keepMs: number;
}

/** The state of sessions that is kept for a tenant. */
export interface StatePolicy {
  readonly keys: number;
  /** Of its values, and of the outputs that are kept for its retries. */
  readonly bytes: number;
  /** Longest time that a value is kept without being written. */
  readonly ttlMs: number;
  /** Keys that belong to all its vehicles, and to other tenants where they are named. */
  readonly shared: readonly SharedKeys[];
}

/** Names in which `*` stands for any characters. */
export interface SharedKeys {
  readonly keys: readonly string[];
  readonly tasks: readonly string[];
  readonly tenants: readonly string[];
}

/** The limits that the ingress holds one client to. */
export interface ClientLimits {
  readonly connectionsPerVehicle: number;
  readonly connectionsPerTenant: number;
  /** Input of the tenant that has come in and is not answered. */
  readonly bytesInFlight: number;
  /** Answers that the tenant's clients have not read, over all connections. */
  readonly unreadBytes: number;
  /** Of the tenant. */
  readonly requestsPerSecond: number;
}

/** The least share of what can run, 0 to 1, that a class gets while offloads of it wait. Of `safety`: 0, it comes first. */
export type ClassShares = Readonly<Record<ServiceClass, number>>;

/** The packages that a key may sign. Names as in `shares`. */
export interface SignerRule {
  /** Name of the public key in the folder of `--trust`, without `.pem`, or its id (64 hexadecimal digits). */
  readonly key: string;
  readonly tenants: readonly string[];
  readonly tasks: readonly string[];
}

export const NEIGHBOUR_RIGHTS = ['results', 'packages', 'state', 'offer'] as const;

/** The rights of a neighbouring broker here, for the vehicles of a tenant. */
export interface NeighbourRule {
  readonly broker: string;
  readonly tenant: string;
  readonly may: readonly (typeof NEIGHBOUR_RIGHTS)[number][];
}

export interface Policy {
  /** By name; complete: what the file leaves out is filled in. */
  readonly tenants: ReadonlyMap<string, TenantPolicy>;
  /** For a tenant that is not listed. */
  readonly others: TenantPolicy;
  /** A tenant that is not listed is not served. */
  readonly refuseOthers: boolean;
  readonly classes: ClassShares;
  /** Undefined: every trusted key may sign for every tenant. */
  readonly signers: readonly SignerRule[] | undefined;
  /** `keys`: names or ids, as in `SignerRule`. */
  readonly revoked: { readonly keys: readonly string[]; readonly digests: readonly string[] };
  /** `forward`: a version of a task that is lower than one that was there before is not taken. */
  readonly versions: 'any' | 'forward';
  readonly neighbours: readonly NeighbourRule[];
  /** Ids in the certificates of operators who may use the control API over the network. */
  readonly operators: readonly string[];
}

/** An offload as far as a policy looks at it. */
export interface RuledOffload {
  readonly tenant: string;
  readonly input: { readonly length: number };
  readonly deadline: { readonly originalMs: number };
}

/** The policy, as every room of the broker. Answers change when the file is read anew: ask each time. */
export interface TenantRules {
  readonly policy: Policy;
  policyOf(tenant: string): TenantPolicy;
  limitsOf(client: Pick<VehiclePrincipal, 'tenant'>): ClientLimits;
  resultLimits(tenant: string): ResultLimits;
  weightOf(tenant: string): number;
  readonly classShares: ClassShares;
  /** The reason why this client is not served at all: asked when it connects, and for all that are connected after a change. */
  refusalOf(client: Pick<VehiclePrincipal, 'tenant'>): KerbError | undefined;
  /** The offload as its tenant may have it: its class capped, its isolation `vm` where the policy demands that. */
  bounded<T extends BoundedTerms>(offload: T): T;
  /** `owners`: tenants that pushed the package; undefined: it is the operator's. */
  maySee(tenant: string, owners: readonly string[] | undefined): boolean;
  mayRun(tenant: string, owners: readonly string[] | undefined): boolean;
}

export interface BoundedTerms {
  readonly tenant: string;
  readonly serviceClass: ServiceClass;
  readonly isolation: 'any' | 'vm';
}

/** A run that counts against its tenant's quotas. */
export interface TenantRun {
  readonly tenant: string;
  /** Bytes that its tender may come to hold, as the package declares. */
  readonly memory: number;
  readonly startedAt: number;
  /** It is to be ended after this time, in milliseconds, whatever is left of its budget. */
  readonly longestMs: number;
}

/**
 * The use that tenants make of the broker now, against their limits. Times are milliseconds of one monotonic clock; `memory` as in `TenantRun`.
 * Hot path: each call looks up one tenant.
 */
export interface TenantAccounts {
  /** The reason why this offload is not taken now; asked before admission, for what is neither joined nor answered from results. */
  check(offload: RuledOffload, memory: number, now: number): Refusal | undefined;
  /** It waits from now on. */
  taken(offload: RuledOffload): void;
  /** It has been answered, whatever the answer was, or was cancelled: the reverse of `taken`. */
  left(offload: RuledOffload, now: number): void;
  /**
   * True when one more may be dispatched now. False: it goes on waiting, and keeps no other tenant from its turn; `onMore` of the
   * accounts is called when it is worth asking again.
   */
  mayBegin(tenant: string, memory: number, now: number): boolean;
  begun(tenant: string, memory: number, now: number): TenantRun;
  /** It runs no longer. `cpuMs`: what it computed, as the tender measured; undefined when that is not known. */
  ended(run: TenantRun, cpuMs: number | undefined, now: number): void;
  /** The reason why a run was ended after its `longestMs`. */
  endedEarly(run: TenantRun): Refusal;
}

/**
 * Who may what: the values of the policy file, as the rooms of the broker use them. `Infinity` stands for no limit.
 * Bytes, and milliseconds where a name ends with `Ms`.
 */
import type { KerbError } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import type { ServiceClass } from '../../shared/protocol/service-class.ts';

/** What one tenant may. */
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
  /** CPU time of its unikernels: it fills at `perMinuteMs` a minute up to `burstMs`. */
  readonly cpu: { readonly perMinuteMs: number; readonly burstMs: number };
  /** What its running tenders may come to hold together, as their packages declare. */
  readonly memory: number;
  /** Input of its offloads that wait or run. */
  readonly bytes: number;
  readonly results: ResultLimits;
  readonly packages: { readonly push: boolean; readonly count: number; readonly bytes: number };
  readonly connections: number;
  readonly connectionsPerVehicle: number;
  readonly requestsPerSecond: number;
  /** Answers that its clients have not read yet, over all connections. */
  readonly unread: number;
  /** `vm`: whatever it offloads is run in a virtual machine or not at all. */
  readonly isolation: 'any' | 'vm';
  /** Who else sees and runs what it pushed: names of tenants, `*` stands for any characters. Who may run also sees. */
  readonly shares: { readonly see: readonly string[]; readonly run: readonly string[] };
}

export interface ResultLimits {
  readonly count: number;
  readonly bytes: number;
  /** Longest time that a result is kept; a caller that asks for more gets this. */
  readonly keepMs: number;
}

/** What the ingress holds one client to. */
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

/** Which packages a key may sign. Names as in `shares`. */
export interface SignerRule {
  /** Name of the public key in the folder of `--trust`, without `.pem`, or its id (64 hexadecimal digits). */
  readonly key: string;
  readonly tenants: readonly string[];
  readonly tasks: readonly string[];
}

export const NEIGHBOUR_RIGHTS = ['results', 'packages', 'state', 'offer'] as const;

/** What a neighbouring broker may do here for the vehicles of a tenant. */
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
  /** Undefined: every trusted key may sign for everybody. */
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
  readonly vehicle: string;
  readonly taskDigest: string;
  readonly input: { readonly length: number };
  readonly deadline: { readonly originalMs: number };
}

/** What the policy says, for every room of the broker. Answers change when the file is read anew: ask each time. */
export interface TenantRules {
  readonly policy: Policy;
  policyOf(tenant: string): TenantPolicy;
  limitsOf(client: Pick<VehiclePrincipal, 'tenant' | 'id'>): ClientLimits;
  resultLimits(tenant: string): ResultLimits;
  weightOf(tenant: string): number;
  highestClassOf(tenant: string): ServiceClass;
  readonly classShares: ClassShares;
  /** Why this client is not served at all: asked when it connects, and for all that are connected after a change. */
  refusalOf(client: Pick<VehiclePrincipal, 'tenant' | 'id'>): KerbError | undefined;
  /** `owners`: tenants that pushed the package; undefined: it is the operator's. */
  maySee(tenant: string, owners: readonly string[] | undefined): boolean;
  mayRun(tenant: string, owners: readonly string[] | undefined): boolean;
}

/**
 * What tenants use now, against what they may. Times are milliseconds of one monotonic clock.
 * Hot path: each call looks up one tenant and allocates nothing once that is known.
 */
export interface TenantAccounts {
  /** Why this offload is not taken now; asked before admission, for what is neither joined nor answered from results. */
  check(offload: RuledOffload, now: number): Refusal | undefined;
  /** It waits from now on. */
  taken(offload: RuledOffload): void;
  /** It has been answered, whatever the answer was, or was cancelled: the reverse of `taken`. */
  left(offload: RuledOffload): void;
  /** Whether it may be dispatched now. No: it goes on waiting, and keeps no other tenant from its turn. */
  mayBegin(tenant: string, memory: number, now: number): boolean;
  /** It runs from now on. `memory`: what its tender may come to hold, in bytes. @returns the longest that it may run, in ms */
  begun(tenant: string, memory: number, now: number): number;
  /** It runs no longer. `cpuMs`: what it computed, as the tender measured, 0 when that is not known. */
  ended(tenant: string, memory: number, cpuMs: number, now: number): void;
  /** Why a run was ended at the limit that `begun` gave. */
  endedEarly(tenant: string, now: number): Refusal;
}

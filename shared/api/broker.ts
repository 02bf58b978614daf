/** JSON answers of a broker's control API; `shared/api/status.ts` has its status. */
import type { Quantiles } from '../base/rolling.ts';
import type { BrokerStatus, DaemonEvent } from './status.ts';

/** How much of a quota of the policy is used. */
export interface QuotaUse {
  /** Key of the quota, as the policy and refusals name it. */
  readonly quota: string;
  readonly used: number;
  readonly limit: number;
}

/** One tenant: all that it has and does here. `GET /v1/tenants` */
export interface TenantStatus {
  readonly tenant: string;
  readonly connections: number;
  /** Vehicles that are connected. */
  readonly vehicles: number;
  readonly waiting: number;
  readonly running: number;
  /** Bytes of input of what waits and runs. */
  readonly bytes: number;
  /** Answers so far: with a result, not taken, and taken but not successful. A repeated request counts again. */
  readonly ok: number;
  readonly refused: number;
  readonly failed: number;
  /** Results per second, over the last five seconds. */
  readonly perSecond: number;
  /** Answers without a result, by the reason that was given. */
  readonly reasons: Readonly<Record<string, number>>;
  /** Those whose budget ran out here, and results that were later than it. */
  readonly misses: number;
  /** From the arrival to the result, over the last minute. */
  readonly latency: Quantiles;
  /** Processor time of its unikernels, in milliseconds. */
  readonly cpuMs: number;
  /** Packages that it has pushed. */
  readonly packages: { readonly count: number; readonly bytes: number };
  /** Results that are kept for it; left out when none are kept by tenant. */
  readonly kept?: { readonly count: number; readonly bytes: number } | undefined;
  /** Left out without a policy. */
  readonly quotas?: readonly QuotaUse[] | undefined;
}

/** One task that can be offloaded here. `GET /v1/packages` answers a list of them. */
export type PackageStatus = BrokerStatus['packages'][number];

/** One offload that waits or runs. */
export interface OffloadStatus {
  readonly id: string;
  readonly tenant: string;
  readonly vehicle: string;
  /** Name and version of the task. */
  readonly task: string;
  readonly digest: string;
  readonly class: string;
  readonly state: 'waiting' | 'running';
  /** Milliseconds since it arrived. */
  readonly ageMs: number;
  /** Milliseconds until its budget is spent. */
  readonly leftMs: number;
  /** Bytes of input. */
  readonly bytes: number;
  /** Requests that wait for its answer. */
  readonly callers: number;
}

/** The oldest first. `GET /v1/offloads` */
export interface OffloadPage {
  readonly offloads: readonly OffloadStatus[];
  /** How many there are in all. */
  readonly total: number;
}

/** One connected vehicle. */
export interface VehicleStatus {
  readonly vehicle: string;
  readonly tenant: string;
  readonly connections: number;
  /** Version of V2E that its newest connection speaks. */
  readonly version: number;
  /** ISO 8601, UTC: of its oldest connection. */
  readonly since: string;
  /** Offloads of it that wait or run. */
  readonly pending: number;
  /** Answers since then. */
  readonly ok: number;
  readonly refused: number;
  readonly failed: number;
}

/** Those that have been connected for longest first. `GET /v1/vehicles` */
export interface VehiclePage {
  readonly vehicles: readonly VehicleStatus[];
  readonly total: number;
}

/** A broker that the policy names as a neighbour. `GET /v1/neighbours` answers a list of them. */
export interface NeighbourStatus {
  readonly broker: string;
  readonly state: 'connected' | 'away';
  /** Why it is away; empty: it is connected. */
  readonly reason: string;
  /** Empty: its address is not known. */
  readonly url: string;
  /** ISO 8601, UTC; left out while it is away. */
  readonly since?: string;
  /** Its rights here, as the policy has them. */
  readonly rights: readonly { readonly tenant: string; readonly may: readonly string[] }[];
  /** Requests of it that were over its limits. */
  readonly refused: number;
  /** Packages that it may have: those that it has, and those that are still to be forwarded. */
  readonly packages: { readonly there: number; readonly waiting: number };
  /** Packages that it does not take, and why: it is not a place for these tasks. At most 100. */
  readonly notTaken: readonly {
    readonly tenant: string;
    readonly digest: string;
    readonly code: number;
    readonly reason: string;
  }[];
  /** Results that it is to get; left out by brokers that do not forward them. */
  readonly results?: { readonly waiting: number; readonly bytes: number };
}

/** The lowest version of a task that is taken, by `versions: forward` of the policy. `GET /v1/versions` answers a list of them. */
export interface VersionFloor {
  /** Whose packages are meant; empty: the operator's. */
  readonly tenant: string;
  readonly task: string;
  readonly version: string;
}

/** Everything that `POST /v1/versions` has changed. */
export interface VersionReset {
  readonly task: string;
  /** Lowest versions before and now; `to` is left out where any version is taken. */
  readonly changed: readonly { readonly tenant: string; readonly from: string; readonly to?: string }[];
}

/** The subject of an event of a broker. */
export type BrokerEventKind = 'broker' | 'neighbour' | 'vehicle' | 'refusal' | 'package' | 'drain' | 'error';

/**
 * Something that happened on a broker. `name` is a tenant for vehicles and refusals, the source of an error, a task, or the
 * broker's id. `GET /v1/events?after=ID&name=NAME`; with `follow=1` one JSON text in each line, for ever.
 */
export type BrokerEvent = DaemonEvent<BrokerEventKind>;

/** A key that has a value, without the value. */
export interface StateKeyStatus {
  readonly tenant: string;
  readonly task: string;
  /** Empty: it belongs to all vehicles of the tenant. */
  readonly vehicle: string;
  readonly key: string;
  readonly version: number;
  /** That it counts for in the quota. */
  readonly bytes: number;
  /** Milliseconds until it goes, when it is not written again. */
  readonly expiresInMs: number;
}

/** By tenant, task, vehicle and key. `GET /v1/state` */
export interface StatePage {
  readonly keys: readonly StateKeyStatus[];
  readonly total: number;
}

/** Everything that `POST /v1/forget` has removed. */
export interface ForgottenTenant {
  readonly tenant: string;
  readonly keys: number;
  /** That were kept for retries of offloads with state. */
  readonly outputs: number;
  readonly stateBytes: number;
  readonly results: number;
  /** Digests of packages that it had pushed; one that others pushed too is still there, for them. */
  readonly packages: readonly string[];
  /** Nothing of its state and results is left in free pages, journals and files either. */
  readonly isScrubbed: boolean;
  /** Folders with damaged state or results of all tenants that were put aside; they may hold something of this one, too. */
  readonly aside: readonly string[];
}

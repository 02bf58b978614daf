import { ErrorCode } from '../../shared/base/errors.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';

export interface QueueLimits {
  /** Offloads that may wait for one package. While it is full, a tenant with less than its part may still add to it. */
  readonly maxQueuedPerPackage: number;
  /** Offloads of one tenant that may wait, over all packages. One vehicle may have three quarters of them while others wait. */
  readonly maxQueuedPerTenant: number;
  /** Bytes that may wait, over all packages; one tenant may fill half of it. A single offload may always wait. */
  readonly maxQueuedBytes: number;
}

interface Counted {
  readonly taskDigest: string;
  readonly tenant: string;
  readonly vehicle: string;
  readonly input: { readonly length: number };
}

interface TenantShare {
  count: number;
  bytes: number;
  running: number;
  readonly vehicles: Map<string, number>;
}

interface PackageShare {
  count: number;
  workMs: number;
}

const MAX_RETRY_HINT_MS = 10_000;
const VEHICLE_PART = 0.75;

/** Counts what waits and runs, by tenant, vehicle and package. A count of zero is forgotten. */
export class Shares {
  readonly #tenants = new Map<string, TenantShare>();
  readonly #packages = new Map<string, PackageShare>();
  #bytes = 0;
  #waitingTenants = 0;

  /** Bytes of the inputs that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  get waitingTenants(): number {
    return this.#waitingTenants;
  }

  of(tenant: string): Readonly<TenantShare> | undefined {
    return this.#tenants.get(tenant);
  }

  runningOf(tenant: string): number {
    return this.#tenants.get(tenant)?.running ?? 0;
  }

  queuedFor(taskDigest: string): number {
    return this.#packages.get(taskDigest)?.count ?? 0;
  }

  /** Milliseconds of work that wait for this package. */
  workFor(taskDigest: string): number {
    return this.#packages.get(taskDigest)?.workMs ?? 0;
  }

  /** One more waits, or one less. */
  waits({ taskDigest, tenant, vehicle, input }: Counted, workMs: number, change: 1 | -1): void {
    this.#bytes += change * input.length;
    const share = this.#tenant(tenant);
    share.count += change;
    if (share.count === 0) this.#waitingTenants--;
    else if (share.count === 1 && change === 1) this.#waitingTenants++;
    share.bytes += change * input.length;
    const ofVehicle = (share.vehicles.get(vehicle) ?? 0) + change;
    if (ofVehicle === 0) share.vehicles.delete(vehicle);
    else share.vehicles.set(vehicle, ofVehicle);
    this.#forgetEmpty(tenant, share);
    let ofPackage = this.#packages.get(taskDigest);
    if (ofPackage === undefined) {
      ofPackage = { count: 0, workMs: 0 };
      this.#packages.set(taskDigest, ofPackage);
    }
    ofPackage.count += change;
    ofPackage.workMs += change * workMs;
    if (ofPackage.count === 0) this.#packages.delete(taskDigest);
  }

  /** One more runs, or one less. */
  runs(tenant: string, change: 1 | -1): void {
    const share = this.#tenant(tenant);
    share.running += change;
    this.#forgetEmpty(tenant, share);
  }

  #tenant(tenant: string): TenantShare {
    let share = this.#tenants.get(tenant);
    if (share === undefined) {
      share = { count: 0, bytes: 0, running: 0, vehicles: new Map() };
      this.#tenants.set(tenant, share);
    }
    return share;
  }

  #forgetEmpty(tenant: string, { count, running }: TenantShare): void {
    if (count === 0 && running === 0) this.#tenants.delete(tenant);
  }
}

/** Why one more cannot wait; undefined: it can. @param parallel how many of its package run at the same time */
export function noRoom(entry: Counted, shares: Shares, limits: QueueLimits, parallel: number): Refusal | undefined {
  const { taskDigest, tenant, vehicle, input } = entry;
  const { maxQueuedPerPackage, maxQueuedPerTenant, maxQueuedBytes } = limits;
  const bytes = input.length;
  const share = shares.of(tenant);
  const queued = shares.queuedFor(taskDigest);
  const refuse = (code: ErrorCode, message: string) => {
    // When half of those who wait now will be through.
    const hint = Math.ceil(shares.workFor(taskDigest) / parallel / 2);
    return refusal(code, message, Math.min(MAX_RETRY_HINT_MS, Math.max(1, hint)));
  };
  if (share !== undefined) {
    if (share.count >= maxQueuedPerTenant) {
      const message = `tenant ${tenant} has ${maxQueuedPerTenant} offloads waiting here, as many as it may`;
      return refuse(ErrorCode.TooManyFromTenant, message);
    }
    const ofVehicle = Math.max(1, Math.floor(maxQueuedPerTenant * VEHICLE_PART));
    if (share.vehicles.size > 1 && (share.vehicles.get(vehicle) ?? 0) >= ofVehicle) {
      const message = `vehicle ${vehicle} has ${ofVehicle} offloads waiting here, as many as one of several may`;
      return refuse(ErrorCode.TooManyFromTenant, message);
    }
    if (share.count > 0 && share.bytes + bytes > maxQueuedBytes / 2) {
      const message = `tenant ${tenant} has ${share.bytes} bytes of input waiting here; ${bytes} more are too many`;
      return refuse(ErrorCode.TooManyFromTenant, message);
    }
  }
  // Tenants that have filled the queue keep out none that has less than its part of it.
  const own = share?.count ?? 0;
  const tenants = shares.waitingTenants + (own === 0 ? 1 : 0);
  const hasPart = own >= Math.max(1, Math.floor(maxQueuedPerPackage / tenants)) || queued >= 2 * maxQueuedPerPackage;
  if (queued >= maxQueuedPerPackage && hasPart) {
    const message = `${maxQueuedPerPackage} offloads wait for this task already, as many as may`;
    return refuse(ErrorCode.QueueFull, message);
  }
  if (shares.bytes > 0 && shares.bytes + bytes > maxQueuedBytes) {
    const message = `${shares.bytes} bytes of input wait here already; ${bytes} more are too many`;
    return refuse(ErrorCode.QueueFull, message);
  }
  return undefined;
}

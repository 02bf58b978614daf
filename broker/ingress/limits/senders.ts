import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import type { VehiclePrincipal } from '../../../shared/identity/identity.ts';
import type { ClientLimits } from '../../tenants/policy.ts';
import { TokenBucket } from './token-bucket.ts';
import { type Source, Turn, type Waiting } from './turns.ts';

/** Bytes of answers that one vehicle may leave unread, whatever its tenant may. */
const MAX_UNREAD = 8 * 1024 * 1024;
/** A vehicle that holds no more than this is not blamed for what its tenant leaves unread. */
const BLAMELESS_UNREAD = 256 * 1024;
/** Connections of one vehicle: it may lose and make one again and again in a tunnel. */
const CONNECTS = { perSecond: 2, most: 40 };
/** Connections too many of one vehicle that are told so at once. */
const TOLD = { perSecond: 1, most: 20 };
/** Vehicles that are not connected any more are remembered for this long: their limits stay spent. */
const FORGET_MS = 30_000;

/** One message with an event, whole. */
export interface Request extends Waiting {
  readonly source: RequestSource;
  readonly message: Buffer;
}

export interface RequestSource extends Source {
  /** @param quota that it was over for too long; empty: none */
  handle(request: Request, quota: string): void;
}

/** The share of the broker that one tenant uses now. */
interface TenantUse {
  connections: number;
  /** Vehicles of it of which something is in flight. */
  busy: number;
  bytesInFlight: number;
  unread: number;
  requests: TokenBucket;
  requestsPerSecond: number;
}

/** One vehicle of one tenant, over all its connections and certificates. */
export class Sender {
  readonly client: VehiclePrincipal;
  readonly turn = new Turn<Request>();
  /** Connections that have shown its certificate. */
  connections = 0;
  /** Of messages that are not whole yet. */
  unfinished = 0;
  bytesInFlight = 0;
  unread = 0;
  leftAt = 0;
  readonly connects: TokenBucket;
  readonly told: TokenBucket;
  readonly #tenant: TenantUse;
  readonly #limits: (client: VehiclePrincipal) => ClientLimits;

  constructor(client: VehiclePrincipal, tenant: TenantUse, limits: (client: VehiclePrincipal) => ClientLimits) {
    this.client = client;
    this.#tenant = tenant;
    this.#limits = limits;
    this.connects = new TokenBucket(CONNECTS.perSecond, CONNECTS.most, performance.now());
    this.told = new TokenBucket(TOLD.perSecond, TOLD.most, performance.now());
  }

  get limits(): ClientLimits {
    return this.#limits(this.client);
  }

  /** Which limit keeps a request of so many bytes from being handled; empty: none. */
  hindrance(bytes: number, now: number): '' | 'bytes_in_flight' | 'requests_per_second' {
    const { bytesInFlight, requestsPerSecond } = this.limits;
    const tenant = this.#tenant;
    if (this.bytesInFlight > 0 && tenant.bytesInFlight + bytes > bytesInFlight) {
      // A tenant's vehicles share what it may: one that holds less than its part is not kept out by the others.
      if (this.bytesInFlight + bytes > bytesInFlight / Math.max(1, tenant.busy)) return 'bytes_in_flight';
    }
    if (tenant.requestsPerSecond !== requestsPerSecond) {
      tenant.requestsPerSecond = requestsPerSecond;
      tenant.requests = new TokenBucket(requestsPerSecond, Math.max(1, requestsPerSecond), now);
    }
    return tenant.requests.has(now) ? '' : 'requests_per_second';
  }

  /** A request is handled. */
  countRequest(now: number): void {
    this.#tenant.requests.take(now);
  }

  /** The input of an offload is in flight from now on. */
  hold(bytes: number): void {
    if (this.bytesInFlight === 0 && bytes > 0) this.#tenant.busy++;
    this.bytesInFlight += bytes;
    this.#tenant.bytesInFlight += bytes;
  }

  /** The offload is answered, or its vehicle does not wait for an answer any more. */
  release(bytes: number): void {
    this.bytesInFlight -= bytes;
    this.#tenant.bytesInFlight -= bytes;
    if (this.bytesInFlight === 0 && bytes > 0) this.#tenant.busy--;
  }

  addUnread(bytes: number): void {
    this.unread += bytes;
    this.#tenant.unread += bytes;
  }

  /** So much is unread that nothing more is read. */
  get isSlow(): boolean {
    return this.unread > Math.min(MAX_UNREAD, this.limits.unreadBytes) / 2;
  }

  /** More is unread than may be. */
  get isStuck(): boolean {
    const { unreadBytes } = this.limits;
    if (this.unread > Math.min(MAX_UNREAD, unreadBytes)) return true;
    return this.#tenant.unread > unreadBytes && this.unread > BLAMELESS_UNREAD;
  }
}

/** The vehicles that are connected, and were lately. */
export class Senders {
  readonly #limits: (client: VehiclePrincipal) => ClientLimits;
  readonly #all = new Map<string, Sender>();
  readonly #tenants = new Map<string, TenantUse>();
  #sweptAt = 0;

  constructor(limits: (client: VehiclePrincipal) => ClientLimits) {
    this.#limits = limits;
  }

  /**
   * One more connection of a vehicle.
   * @throws KerbError TooManyConnections; `context.told` is false for one that comes so often that it need not hear it
   */
  meet(client: VehiclePrincipal): Sender {
    const now = performance.now();
    this.#sweep(now);
    const key = keyOf(client);
    const tenant = this.#tenantOf(client, now);
    const sender = this.#all.get(key) ?? new Sender(client, tenant, this.#limits);
    this.#all.set(key, sender);
    const { connectionsPerVehicle, connectionsPerTenant } = sender.limits;
    const tooMany = (message: string, quota: string) => tooManyOf(message, quota, sender.told.take(now));
    const whose = `vehicle ${client.id}`;
    if (sender.connections >= connectionsPerVehicle)
      throw tooMany(`${whose} has ${sender.connections} connections to this broker already`, 'connections_per_vehicle');
    if (tenant.connections >= connectionsPerTenant)
      throw tooMany(`tenant ${client.tenant} has ${tenant.connections} connections here already`, 'connections');
    if (!sender.connects.take(now))
      throw tooMany(`${whose} connects again too often; at most ${CONNECTS.perSecond} times a second`, 'connects');
    sender.connections++;
    tenant.connections++;
    return sender;
  }

  leave(sender: Sender): void {
    sender.connections--;
    sender.leftAt = performance.now();
    this.#tenants.get(sender.client.tenant)!.connections--;
  }

  #tenantOf({ tenant }: VehiclePrincipal, now: number): TenantUse {
    let use = this.#tenants.get(tenant);
    if (use === undefined) {
      const requests = new TokenBucket(0, 0, now);
      use = { connections: 0, busy: 0, bytesInFlight: 0, unread: 0, requests, requestsPerSecond: 0 };
      this.#tenants.set(tenant, use);
    }
    return use;
  }

  /** Forgets vehicles that left long ago. Tenants are few: each is an organisation that the authority has named. */
  #sweep(now: number): void {
    if (now - this.#sweptAt < FORGET_MS) return;
    this.#sweptAt = now;
    for (const [key, { connections, bytesInFlight, leftAt }] of this.#all) {
      if (connections === 0 && bytesInFlight === 0 && now - leftAt > FORGET_MS) this.#all.delete(key);
    }
  }
}

/** No name holds a line break, so that no vehicle can make the key of another. */
function keyOf({ tenant, id }: VehiclePrincipal): string {
  return `${tenant}\n${id}`;
}

function tooManyOf(message: string, quota: string, told: boolean): KerbError {
  return new KerbError(ErrorCode.TooManyConnections, `${message}; close one or wait`, { quota, told });
}

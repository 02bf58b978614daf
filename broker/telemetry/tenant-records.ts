import { ErrorCode } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import { RateWindow, RollingQuantiles } from '../../shared/base/rolling.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import { type RefusalReason, reasonOf } from '../../shared/protocol/refusal-reason.ts';
import type { TaskResult } from '../offloads/offload.ts';
import type { Asked } from './asked.ts';

/** Tenants that are remembered when they have no vehicle here any more; the one that left first is forgotten. */
const MAX_TENANTS = 256;
const LATENCY_WINDOW_MS = 60_000;

/** A vehicle, for as long as it is connected. */
export interface VehicleRecord {
  readonly id: string;
  readonly tenant: string;
  readonly sinceMs: number;
  connections: number;
  version: number;
  ok: number;
  refused: number;
  failed: number;
}

/** A tenant, since it first came. */
export interface TenantRecord {
  readonly tenant: string;
  readonly vehicles: Map<string, VehicleRecord>;
  connections: number;
  ok: number;
  refused: number;
  failed: number;
  misses: number;
  readonly reasons: Map<RefusalReason, number>;
  readonly rate: RateWindow;
  /** Milliseconds; made with the first result, because it takes 46 KB. */
  latency: RollingQuantiles | undefined;
}

/** All that is known of tenants and their vehicles. Bounded by the connections and by `MAX_TENANTS`. */
export class TenantRecords {
  readonly #tenants = new Map<string, TenantRecord>();
  #connections = 0;

  get connections(): number {
    return this.#connections;
  }

  list(): TenantRecord[] {
    return [...this.#tenants.values()];
  }

  vehicles(tenant?: string): VehicleRecord[] {
    const some = tenant === undefined ? this.list() : [this.#tenants.get(tenant)];
    return some.flatMap((one) => [...(one?.vehicles.values() ?? [])]);
  }

  vehicle({ tenant, vehicle }: Pick<Asked, 'tenant' | 'vehicle'>): VehicleRecord | undefined {
    return this.#tenants.get(tenant)?.vehicles.get(vehicle);
  }

  connected({ id, tenant, version }: VehiclePrincipal & { readonly version: number }): () => void {
    const record = this.#recordOf(tenant);
    const fresh = { id, tenant, sinceMs: Date.now(), connections: 0, version, ok: 0, refused: 0, failed: 0 };
    const vehicle: VehicleRecord = record.vehicles.get(id) ?? fresh;
    record.vehicles.set(id, vehicle);
    record.connections++;
    vehicle.connections++;
    vehicle.version = version;
    this.#connections++;
    return () => {
      record.connections--;
      vehicle.connections--;
      this.#connections--;
      if (vehicle.connections > 0) return;
      record.vehicles.delete(id);
      if (record.connections > 0 || this.#tenants.get(tenant) !== record) return;
      // Behind the others: of those that have left, the first is forgotten first.
      this.#tenants.delete(tenant);
      this.#tenants.set(tenant, record);
    };
  }

  answered(asked: Asked, result: TaskResult | undefined, refusal: Refusal | undefined): void {
    const record = this.#recordOf(asked.tenant);
    const outcome = outcomeOf(refusal);
    record[outcome]++;
    const vehicle = record.vehicles.get(asked.vehicle);
    if (vehicle !== undefined) vehicle[outcome]++;
    if (isMiss(asked, result, refusal)) record.misses++;
    if (refusal !== undefined) {
      const reason = reasonOf(refusal.code);
      record.reasons.set(reason, (record.reasons.get(reason) ?? 0) + 1);
      return;
    }
    record.rate.add();
    record.latency ??= new RollingQuantiles(LATENCY_WINDOW_MS);
    record.latency.record(asked.deadline.elapsedMs());
  }

  #recordOf(tenant: string): TenantRecord {
    const known = this.#tenants.get(tenant);
    if (known !== undefined) return known;
    if (this.#tenants.size >= MAX_TENANTS) {
      for (const [name, { connections }] of this.#tenants) {
        if (connections > 0) continue;
        this.#tenants.delete(name);
        break;
      }
    }
    const fresh: TenantRecord = {
      ...{ tenant, vehicles: new Map(), connections: 0, ok: 0, refused: 0, failed: 0, misses: 0 },
      ...{ reasons: new Map(), rate: new RateWindow(), latency: undefined },
    };
    this.#tenants.set(tenant, fresh);
    return fresh;
  }
}

/** Codes of what was taken and did not come to a good end, besides those whose reason is `failed`. */
const TAKEN: ReadonlySet<number> = new Set([
  ErrorCode.BudgetSpentInQueue,
  ErrorCode.GuestDeadline,
  ErrorCode.TaskRefusedInput,
  ErrorCode.OffloadCancelled,
]);

export function outcomeOf(refusal: Refusal | undefined): 'ok' | 'refused' | 'failed' {
  if (refusal === undefined) return 'ok';
  return TAKEN.has(refusal.code) || reasonOf(refusal.code) === 'failed' ? 'failed' : 'refused';
}

/** The budget ran out here, or the result is later than it. */
export function isMiss({ deadline }: Asked, result: TaskResult | undefined, refusal: Refusal | undefined): boolean {
  if (result !== undefined) return deadline.isOver();
  return refusal?.code === ErrorCode.BudgetSpentInQueue || refusal?.code === ErrorCode.GuestDeadline;
}

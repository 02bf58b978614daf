/**
 * The activity of this broker now and before, by tenant and vehicle: who is connected, what waits and runs, and what came of it.
 * It follows each request from its arrival to its answer, and decides nothing.
 *
 * Hot path: two look-ups and two small objects for each request. Sums that can be made for each request of the API are made then.
 */
import { createHash } from 'node:crypto';
import type { OffloadPage, VehiclePage } from '../../shared/api/broker.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import type { Answer, AnyOffload, IncomingOffload, TaskResult } from '../offloads/offload.ts';
import type { Asked } from './asked.ts';
import { TenantRecords, type VehicleRecord } from './tenant-records.ts';

export interface ActivityOptions {
  readonly taskOf: (digest: string) => { readonly name: string; readonly version: string } | undefined;
  /** Told of each answer: exactly one of `result` and `refusal` is there. */
  readonly onAnswer: (asked: Asked, result: TaskResult | undefined, refusal: Refusal | undefined) => void;
  /** Inputs are hashed, for the audit log. */
  readonly hashInputs: boolean;
}

/** An offload that waits or runs, for all callers that asked for it. */
interface Pending {
  readonly asked: Asked;
  callers: number;
  running: boolean;
}

const UNKNOWN = { name: 'unknown', version: '' };

export class Activity {
  readonly #options: ActivityOptions;
  readonly #pending = new Map<string, Pending>();
  readonly tenants = new TenantRecords();
  #onIdle = new Set<() => void>();

  constructor(options: ActivityOptions) {
    this.#options = options;
  }

  /** A connection is there; the result says that it has gone. */
  connected(client: VehiclePrincipal & { readonly version: number }): () => void {
    return this.tenants.connected(client);
  }

  /** Follows a request to its answer: what is given is to be called in the place of `answer`. */
  follow(offload: AnyOffload, answer: Answer): Answer {
    const asked = this.#askedOf(offload);
    const key = keyOf(asked);
    const joined = this.#pending.get(key);
    const pending = joined ?? { asked, callers: 0, running: false };
    if (joined === undefined) this.#pending.set(key, pending);
    pending.callers++;
    return (result, refusal) => {
      answer(result, refusal);
      if (--pending.callers === 0) this.#pending.delete(key);
      this.tenants.answered(asked, result, refusal);
      this.#options.onAnswer(asked, result, refusal);
      if (this.#pending.size === 0) this.#noticeIdle();
    };
  }

  /** A tender has it now. */
  started(offload: Pick<IncomingOffload, 'tenant' | 'vehicle' | 'id'>): void {
    const pending = this.#pending.get(keyOf(offload));
    if (pending !== undefined) pending.running = true;
  }

  get idle(): boolean {
    return this.#pending.size === 0;
  }

  counts(): { readonly waiting: number; readonly running: number } {
    let running = 0;
    for (const one of this.#pending.values()) if (one.running) running++;
    return { waiting: this.#pending.size - running, running };
  }

  /** Resolves when nothing waits or runs, or `signal` fires. */
  whenIdle(signal: AbortSignal): Promise<void> {
    if (this.idle || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        this.#onIdle.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#onIdle.add(done);
      signal.addEventListener('abort', done);
    });
  }

  /** Offloads that wait or run, in the order of arrival. */
  *pending(): Generator<Pending> {
    yield* this.#pending.values();
  }

  /** The oldest first. @param only of this tenant or vehicle, or in this state, where one is given */
  offloads(
    limit: number,
    only: {
      readonly tenant?: string | undefined;
      readonly vehicle?: string | undefined;
      readonly state?: string | undefined;
    },
  ): OffloadPage {
    const now = performance.now();
    const offloads: OffloadPage['offloads'][number][] = [];
    let total = 0;
    for (const { asked, callers, running } of this.#pending.values()) {
      const state = running ? 'running' : 'waiting';
      if (only.tenant !== undefined && only.tenant !== asked.tenant) continue;
      if (only.vehicle !== undefined && only.vehicle !== asked.vehicle) continue;
      if (only.state !== undefined && only.state !== state) continue;
      if (++total > limit) continue;
      const { id, tenant, vehicle, task, version, digest, serviceClass, deadline, bytes } = asked;
      offloads.push({
        ...{ id, tenant, vehicle, task: `${task} ${version}`.trimEnd(), digest, class: serviceClass, state },
        ageMs: Math.round(deadline.elapsedMs(now)),
        leftMs: Math.round(deadline.leftMs(now)),
        ...{ bytes, callers },
      });
    }
    return { offloads, total };
  }

  /** Those that have been connected for longest first. */
  vehicles(limit: number, tenant: string | undefined): VehiclePage {
    const all = this.tenants.vehicles(tenant).sort((a, b) => a.sinceMs - b.sinceMs);
    const shown = all.slice(0, limit);
    const pending = new Map<VehicleRecord, number>();
    for (const { asked } of this.#pending.values()) {
      const record = this.tenants.vehicle(asked);
      if (record !== undefined) pending.set(record, (pending.get(record) ?? 0) + 1);
    }
    const vehicles = shown.map((one) => ({
      ...{ vehicle: one.id, tenant: one.tenant, connections: one.connections, version: one.version },
      since: new Date(one.sinceMs).toISOString(),
      pending: pending.get(one) ?? 0,
      ...{ ok: one.ok, refused: one.refused, failed: one.failed },
    }));
    return { vehicles, total: all.length };
  }

  #askedOf(offload: AnyOffload): Asked {
    const { id, tenant, vehicle, taskDigest, serviceClass, isolation, deadline, input } = offload;
    const { taskOf, hashInputs } = this.#options;
    const { name, version } = taskOf(taskDigest) ?? UNKNOWN;
    const sha256 = hashInputs ? sha256Of(offload) : undefined;
    return {
      ...{ id, tenant, vehicle, digest: taskDigest, task: name, version, serviceClass, isolation, deadline },
      ...{ bytes: input.length, sha256 },
    };
  }

  #noticeIdle(): void {
    for (const done of this.#onIdle) done();
  }
}

/** Of one that is not here the announced one, which is checked before it is run. */
function sha256Of(offload: AnyOffload): string {
  const { inputDigest, input } = offload;
  if (inputDigest !== undefined) return Buffer.from(inputDigest, 'base64').toString('hex');
  return createHash('sha256')
    .update(input as Buffer)
    .digest('hex');
}

/** Neither name holds a line break, so that no vehicle can make the key of another. */
function keyOf({
  tenant,
  vehicle,
  id,
}: {
  readonly tenant: string;
  readonly vehicle: string;
  readonly id: string;
}): string {
  return `${tenant}\n${vehicle}\n${id}`;
}

import type { Refusal } from '../../shared/base/refusal.ts';
import { type RefusalReason, reasonOf } from '../../shared/protocol/refusal-reason.ts';
import type { FailedRun, RunUse, TaskResult } from '../offloads/offload.ts';
import type { KeyAnswer, KeyAsker, KeyRequest } from '../state/key-requests.ts';
import type { Asked } from './asked.ts';
import { outcomeOf } from './tenant-records.ts';

/** An action of an operator, or of a tenant on its packages. */
export interface AuditedAction {
  readonly event:
    | 'start'
    | 'stop'
    | 'drain'
    | 'drained'
    | 'serve'
    | 'push'
    | 'remove'
    | 'forward'
    | 'fetch'
    | 'forget'
    | 'versions';
  /** `operator ID`, `control socket`, `vehicle ID`, `broker ID`, or a signal. */
  readonly by: string;
  readonly tenant?: string | undefined;
  readonly digest?: string | undefined;
  readonly task?: string | undefined;
  readonly version?: string | undefined;
  readonly detail?: string | undefined;
}

export interface AuditLogOptions {
  readonly broker: string;
  /** Takes a line. */
  readonly write: (line: string) => void;
  /** Milliseconds that never go backwards. */
  readonly nowMs?: () => number;
}

/** Refused requests of one tenant that have a line of their own in each second. */
const MAX_REFUSED = 20;
const SECOND_MS = 1000;
/** Tenants whose refused requests are counted one by one. */
const MAX_TENANTS = 1000;

/** Refused requests of a tenant in the current second. */
interface Flood {
  count: number;
  readonly unwritten: Map<RefusalReason, number>;
}

/**
 * The audit log says who ran what, as lines of JSON: one for each request that was taken, and for each that was refused as long as a tenant has
 * not too many of those; the rest of them are summed up once a second, so that a flood of requests that cost nothing cannot
 * push out what was run.
 *
 * Hot path: one line per request.
 */
export class AuditLog {
  readonly #options: AuditLogOptions;
  readonly #floods = new Map<string, Flood>();
  #until = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AuditLogOptions) {
    this.#options = options;
  }

  action(action: AuditedAction): void {
    const { event, ...rest } = action;
    this.#write({ time: now(), event, ...rest });
  }

  /** A request has its answer. */
  answered(asked: Asked, result: TaskResult | undefined, refusal: Refusal | undefined): void {
    const outcome = outcomeOf(refusal);
    if (outcome === 'refused' && this.#isTooMany(asked.tenant, refusal!)) return;
    const run = result ?? runOf(refusal);
    const { id, tenant, vehicle, task, version, digest, serviceClass, bytes, sha256, deadline } = asked;
    this.#write({
      time: now(),
      event: 'offload',
      ...{ tenant, vehicle, id, task, version, digest, class: serviceClass },
      isolation: run?.isolation,
      outcome,
      ...(refusal && { reason: reasonOf(refusal.code), code: refusal.code }),
      ...(run && { queueMs: ms(run.queueMs), runMs: ms(run.runMs), cpuMs: ms(run.cpuMs) }),
      totalMs: ms(deadline.elapsedMs()),
      inputBytes: bytes,
      outputBytes: result?.output.length,
      inputSha256: sha256,
    });
  }

  /** A request for one key has its answer. Of its value there is the size. */
  state({ tenant, id, via }: KeyAsker, request: KeyRequest, answer: KeyAnswer): void {
    const { refusal, entry } = { entry: undefined, ...answer };
    const outcome = outcomeOf(refusal);
    if (refusal !== undefined && this.#isTooMany(tenant, refusal)) return;
    const { operation, task, key, tenant: owner, home, expected, value } = request;
    this.#write({
      time: now(),
      event: 'state',
      ...{ operation, tenant, vehicle: id, via, task, key, owner: owner || undefined, home, expected, outcome },
      ...(refusal && { reason: reasonOf(refusal.code), code: refusal.code }),
      version: entry?.version,
      bytes: operation === 'get' ? entry?.value?.length : value.length || undefined,
    });
  }

  /** Writes what was summed up. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sumUp();
  }

  #isTooMany(tenant: string, refusal: Refusal): boolean {
    const nowMs = this.#options.nowMs?.() ?? performance.now();
    if (nowMs >= this.#until) {
      this.#sumUp();
      this.#until = nowMs + SECOND_MS;
    }
    const name = this.#floods.has(tenant) || this.#floods.size < MAX_TENANTS ? tenant : 'other';
    let flood = this.#floods.get(name);
    if (flood === undefined) {
      flood = { count: 0, unwritten: new Map() };
      this.#floods.set(name, flood);
    }
    if (++flood.count <= MAX_REFUSED) return false;
    const reason = reasonOf(refusal.code);
    flood.unwritten.set(reason, (flood.unwritten.get(reason) ?? 0) + 1);
    this.#timer ??= setTimeout(() => this.stop(), SECOND_MS).unref();
    return true;
  }

  #sumUp(): void {
    for (const [tenant, { unwritten }] of this.#floods) {
      if (unwritten.size === 0) continue;
      const count = [...unwritten.values()].reduce((sum, one) => sum + one, 0);
      this.#write({ time: now(), event: 'refused', tenant, count, reasons: Object.fromEntries(unwritten) });
    }
    this.#floods.clear();
  }

  #write(fields: Readonly<Record<string, unknown>>): void {
    const { broker, write } = this.#options;
    write(JSON.stringify({ ...fields, broker }));
  }
}

function runOf(refusal: Refusal | FailedRun | undefined): RunUse | undefined {
  return refusal !== undefined && 'run' in refusal ? refusal.run : undefined;
}

/** The line that says how many lines could not be written. */
export function lostLine(broker: string, count: number): string {
  return JSON.stringify({ time: now(), event: 'lost', count, broker });
}

function now(): string {
  return new Date().toISOString();
}

/** Thousandths of a millisecond are enough. */
function ms(value: number): number {
  return Math.round(value * 1000) / 1000;
}

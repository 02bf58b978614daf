import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode, isKerbError, messageOf } from '../../shared/base/errors.ts';
import { reasonOf } from '../../shared/protocol/refusal-reason.ts';
import type { BrokerResult } from '../../shared/v2e-client/offload-result.ts';
import { Latencies, type LatencySummary } from './latencies.ts';

/** Offloads of an open loop that may be unanswered at once. What is due beyond that is counted, and not sent. */
const MAX_OPEN = 8192;
/** A timer of Node is up to a millisecond late; what is later than this was kept from being sent. */
const TIMER_MS = 2;
const MAX_MESSAGE = 300;

export interface LoadPlan {
  /** Offloads altogether; Infinity: until the time is over. */
  readonly count: number;
  readonly durationMs: number;
  /** Offloads per second whose sending does not wait for answers; undefined: the next is sent when one is answered. */
  readonly rate: number | undefined;
  /** Offloads that are open at once, over all connections; of no effect with `rate`. */
  readonly concurrency: number;
  readonly budgetMs: number;
  /** In front of a number that makes ids; default: a random one. */
  readonly prefix?: string;
}

/** One end of a connection that offloads are sent on. */
export interface LoadConnection {
  readonly connected: boolean;
  /** As `BrokerLink.send`. */
  offload(id: string, deadline: Deadline): Promise<BrokerResult>;
}

export interface RefusalCount {
  /** As the wire names it; or `late`, `connection_lost`, `not_sent`, `failed`. */
  readonly reason: string;
  readonly count: number;
  /** The newest sentence. */
  readonly message: string;
  readonly totalMs: LatencySummary;
}

/** Times in milliseconds on the caller's clock, but for `queueMs`, `startMs` and `runMs`, which are the broker's. */
export interface LoadReport {
  readonly seconds: number;
  readonly sent: number;
  /** Within their budget. */
  readonly answered: number;
  readonly answeredPerSecond: number;
  /** From the results that are kept. */
  readonly kept: number;
  readonly interrupted: boolean;
  readonly totalMs: LatencySummary;
  readonly queueMs: LatencySummary;
  readonly startMs: LatencySummary;
  readonly runMs: LatencySummary;
  readonly refusals: readonly RefusalCount[];
}

/** Many offloads of one task, and what came of them. */
export class Load {
  readonly #connections: readonly LoadConnection[];
  readonly #plan: LoadPlan;
  readonly #prefix: string;
  readonly #times = { total: new Latencies(), queue: new Latencies(), start: new Latencies(), run: new Latencies() };
  readonly #refusals = new Map<string, { latencies: Latencies; message: string }>();
  #sent = 0;
  #kept = 0;
  #open = 0;
  #beganAt = 0;
  #endedAt = 0;
  #interrupted = false;

  constructor(connections: readonly LoadConnection[], plan: LoadPlan) {
    this.#connections = connections;
    this.#plan = plan;
    this.#prefix = plan.prefix ?? `load-${randomBytes(6).toString('hex')}`;
  }

  /** Sends as planned and waits for the answers; at once when `signal` says so, or when no connection is left. */
  async run(signal: AbortSignal): Promise<void> {
    this.#beganAt = performance.now();
    const { rate, concurrency } = this.#plan;
    const sending =
      rate === undefined
        ? Promise.all(Array.from({ length: concurrency }, (_, i) => this.#oneAfterTheOther(i, signal)))
        : this.#atRate(rate, signal);
    let undo = () => {};
    const aborted = new Promise<void>((resolve) => {
      const stop = () => resolve();
      if (signal.aborted) stop();
      signal.addEventListener('abort', stop, { once: true });
      undo = () => signal.removeEventListener('abort', stop);
    });
    await Promise.race([sending, aborted]).finally(undo);
    this.#interrupted = signal.aborted;
    this.#endedAt = performance.now();
  }

  get progress(): string {
    const { count } = this.#times.total;
    return `${this.#sent} sent, ${count} answered, ${this.#sent - this.#open - count} refused or late`;
  }

  report(): LoadReport {
    const seconds = Math.max(0.001, (this.#endedAt - this.#beganAt) / 1000);
    const { total, queue, start, run } = this.#times;
    const refusals = [...this.#refusals].map(([reason, { latencies, message }]) => {
      return { reason, count: latencies.count, message, totalMs: latencies.summary() };
    });
    return {
      seconds,
      sent: this.#sent,
      answered: total.count,
      answeredPerSecond: total.count / seconds,
      kept: this.#kept,
      interrupted: this.#interrupted,
      totalMs: total.summary(),
      queueMs: queue.summary(),
      startMs: start.summary(),
      runMs: run.summary(),
      refusals: refusals.sort((a, b) => b.count - a.count),
    };
  }

  #mayGoOn(signal: AbortSignal): boolean {
    const { count, durationMs } = this.#plan;
    return !signal.aborted && this.#sent < count && performance.now() < this.#beganAt + durationMs;
  }

  async #oneAfterTheOther(index: number, signal: AbortSignal): Promise<void> {
    const connection = this.#connections[index % this.#connections.length]!;
    while (this.#mayGoOn(signal) && connection.connected) {
      await this.#send(connection, performance.now());
    }
  }

  async #atRate(rate: number, signal: AbortSignal): Promise<void> {
    const { count, durationMs } = this.#plan;
    const open = new Set<Promise<void>>();
    const all = Math.min(count, Math.ceil((durationMs / 1000) * rate));
    for (let next = 0; next < all && !signal.aborted; ) {
      const now = performance.now();
      const dueAt = this.#beganAt + (next * 1000) / rate;
      if (dueAt > now) {
        await sleep(Math.max(1, dueAt - now), undefined, { signal }).catch(() => {});
        continue;
      }
      const alive = this.#connections.filter(({ connected }) => connected);
      if (alive.length === 0) break;
      const connection = alive[next++ % alive.length]!;
      if (this.#open >= MAX_OPEN) {
        this.#refuse('not_sent', 0, `${MAX_OPEN} offloads are unanswered already`);
        this.#sent++;
        continue;
      }
      const sending = this.#send(connection, now - dueAt > TIMER_MS ? dueAt : now);
      open.add(sending);
      void sending.then(() => open.delete(sending));
      // A burst that is due must not keep answers from being read.
      if (next % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(open);
  }

  /** @param dueAt when its budget begins */
  async #send(connection: LoadConnection, dueAt: number): Promise<void> {
    const id = `${this.#prefix}-${this.#sent++}`;
    this.#open++;
    try {
      const result = await connection.offload(id, new Deadline(this.#plan.budgetMs, dueAt));
      this.#times.total.add(result.totalMs);
      this.#times.queue.add(result.queueMs);
      this.#times.start.add(result.startMs);
      this.#times.run.add(result.runMs);
      if (result.kept) this.#kept++;
    } catch (error) {
      this.#refuse(reasonFor(error), performance.now() - dueAt, messageOf(error));
    } finally {
      this.#open--;
    }
  }

  #refuse(reason: string, ms: number, message: string): void {
    let known = this.#refusals.get(reason);
    if (known === undefined) {
      known = { latencies: new Latencies(), message: '' };
      this.#refusals.set(reason, known);
    }
    known.latencies.add(ms);
    known.message = message.slice(0, MAX_MESSAGE);
  }
}

/** A refusal by its reason on the wire; anything else by what ended it here. */
function reasonFor(error: unknown): string {
  if (!isKerbError(error)) return 'failed';
  const { refusal } = error.context;
  if (typeof refusal === 'number') return reasonOf(refusal);
  if (error.code === ErrorCode.BudgetExhausted) return 'late';
  if (error.code === ErrorCode.BrokerLost || error.code === ErrorCode.NoBroker) return 'connection_lost';
  return 'failed';
}

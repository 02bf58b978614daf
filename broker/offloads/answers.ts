/**
 * The end of an offload: told to each caller, kept in the results, counted.
 *
 * Hot path: nothing but the result is made per answer, and no log line.
 */
import type { ErrorCode } from '../../shared/base/errors.ts';
import { type Refusal, refusal, refusalOf } from '../../shared/base/refusal.ts';
import { RateWindow } from '../../shared/base/rolling.ts';
import type { Results } from '../results/results.ts';
import type { BrokerMetrics } from '../telemetry/metrics.ts';
import type { CallEnd } from '../tenders/pool/pool-options.ts';
import { describeEnd } from '../tenders/process/describe-end.ts';
import type { TenderOutcome } from '../tenders/process/tender.ts';
import { answerAll, type Flights } from './callers.ts';
import type { Answer, AnyOffload, FailedRun, PendingOffload, Runnable, TaskResult } from './offload.ts';
import type { Sessions } from './sessions.ts';

export class Answers {
  readonly #results: Results;
  readonly #flights: Flights;
  readonly #metrics: BrokerMetrics;
  readonly #rate = new RateWindow();
  #onIdle: (() => void) | undefined;
  /** Undefined: no task has state. */
  sessions: Pick<Sessions, 'commit'> | undefined;
  #ok = 0;
  #refused = 0;
  #failed = 0;

  constructor(results: Results, flights: Flights, metrics: BrokerMetrics) {
    this.#results = results;
    this.#flights = flights;
    this.#metrics = metrics;
  }

  counts() {
    return { ok: this.#ok, refused: this.#refused, failed: this.#failed, perSecond: this.#rate.perSecond() };
  }

  /** It was not taken. */
  refuse(offload: AnyOffload, runnable: Runnable | undefined, why: Refusal, answer: Answer): void {
    answer(undefined, why);
    this.#refused++;
    this.#metrics.refused(offload.tenant, runnable?.name ?? 'unknown', why.code);
  }

  /** A run has ended, whatever came of it. @param expectedMs how long it had been expected to take */
  ran(runnable: Runnable, { tenant }: PendingOffload, expectedMs: number, tookMs: number, useless: boolean): void {
    this.#metrics.ran(expectedMs, tookMs);
    if (useless) this.#metrics.useless(tenant, runnable.name);
  }

  /** Its call has ended, well or not. @param takenAt when it was handed to its tender */
  complete(runnable: Runnable, flight: PendingOffload, takenAt: number, end: CallEnd): void {
    const { outcome, error } = end;
    if (outcome === undefined) {
      this.fail(flight, runnable, runnable.endedBy ?? refusalOf(error));
      return;
    }
    this.#metrics.used(flight.tenant, runnable.name, outcome);
    if (outcome.outcome !== 'done' || outcome.status !== 0) {
      this.fail(flight, runnable, failedRun(runnable, flight, takenAt, end, describeEnd(runnable.name, outcome)));
      return;
    }
    const now = performance.now();
    const result = resultOf(runnable, flight, takenAt, now, outcome, end.isolation);
    const startedAt = now - outcome.runMs;
    if (flight.state === undefined) this.deliver(runnable, flight, result, startedAt);
    else
      void this.sessions?.commit(flight, result, startedAt, (done) => this.deliver(runnable, flight, done, startedAt));
  }

  /** Keeps the result as its callers want it, and gives it to them. @param startedAt of the run */
  deliver(runnable: Runnable, flight: PendingOffload, result: TaskResult, startedAt: number): void {
    this.#results.complete(flight, result, startedAt, (given) => this.#answered(runnable, flight, given));
  }

  /** To all callers that wait by now. */
  #answered(runnable: Runnable, flight: PendingOffload, result: TaskResult): void {
    // The budget of the last caller has ended while the result was written to the disk.
    if (flight.over) return;
    this.#flights.end(flight);
    // Whoever asks again gets it from where its state is, also after the death of this broker.
    answerAll(flight, flight.state === undefined ? result : { ...result, durable: true }, undefined);
    // From here on the answer is on its way.
    this.#ok++;
    this.#rate.add();
    this.#metrics.ok(flight.tenant, runnable.name);
    this.#metrics.took('queue', result.queueMs);
    this.#metrics.took('start', result.startMs);
    this.#metrics.took('run', result.runMs);
    this.#metrics.took('total', performance.now() - flight.deadline.startedAt);
    this.#noticeIdle();
  }

  /** It was taken, and there is no result. */
  fail(flight: PendingOffload, runnable: Runnable | undefined, why: Refusal): void {
    this.#results.forget(flight);
    this.#flights.end(flight);
    answerAll(flight, undefined, why);
    this.#failed++;
    this.#metrics.failed(flight.tenant, runnable?.name ?? 'unknown', why.code);
    this.#noticeIdle();
  }

  /** The last caller has been told that its time is over, or wants it no more: what its run brings has no reader. */
  abandon(flight: PendingOffload, runnable: Runnable | undefined, code: ErrorCode): void {
    flight.over = true;
    this.fail(flight, runnable, refusal(code, ''));
  }

  /** The run of one that was abandoned has ended. */
  discard(runnable: Runnable, { tenant }: PendingOffload, { outcome }: CallEnd): void {
    if (outcome !== undefined) this.#metrics.used(tenant, runnable.name, outcome);
  }

  /** Resolves when nothing is under way, or `limitMs` has passed. */
  async idle(limitMs: number): Promise<void> {
    if (this.#results.pending === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#onIdle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #noticeIdle(): void {
    if (this.#onIdle !== undefined && this.#results.pending === 0) this.#onIdle();
  }
}

/** `why` with what the run has taken, where that is known. */
export function failedRun(
  { pool }: Runnable,
  { deadline }: PendingOffload,
  takenAt: number,
  end: CallEnd,
  why: Refusal,
): Refusal | FailedRun {
  if (end.outcome === undefined) return why;
  const { isolation, outcome } = end;
  const { runMs, cpuMs } = outcome;
  const queueMs = takenAt - deadline.startedAt - pool.coldMs(deadline.startedAt, takenAt);
  return { ...why, run: { queueMs, runMs, cpuMs, isolation } };
}

function resultOf(
  { pool }: Runnable,
  { deadline }: PendingOffload,
  takenAt: number,
  now: number,
  outcome: TenderOutcome & { outcome: 'done' },
  isolation: string,
): TaskResult {
  const { output, runMs, cpuMs, peakMemory } = outcome;
  const coldMs = pool.coldMs(deadline.startedAt, takenAt);
  const queueMs = takenAt - deadline.startedAt - coldMs;
  const startMs = coldMs + Math.max(0, now - takenAt - runMs);
  return { output, queueMs, startMs, runMs, cpuMs, peakMemory, isolation };
}

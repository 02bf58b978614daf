/**
 * From the queue to a tender: who waits is handed over when a tender is free, or told when its time is over.
 *
 * Hot path: no timer per offload but the one for the earliest budget in the queues.
 */
import type { Admission } from '../admission/admission.ts';
import type { BrokerMetrics } from '../telemetry/metrics.ts';
import type { Answers } from './answers.ts';
import type { PendingOffload, Runnable } from './offload.ts';
import { lacksIsolation, spentInQueue } from './refusals.ts';

export interface DispatchParts {
  readonly admission: Admission<PendingOffload>;
  readonly answers: Answers;
  readonly metrics: BrokerMetrics;
}

export class Dispatch {
  /** By the digest of the package. */
  readonly runnables = new Map<string, Runnable>();
  readonly #admission: Admission<PendingOffload>;
  readonly #answers: Answers;
  readonly #metrics: BrokerMetrics;
  #sweepTimer: NodeJS.Timeout | undefined;
  /** When the timer rings. */
  #sweepAt = Number.POSITIVE_INFINITY;

  constructor({ admission, answers, metrics }: DispatchParts) {
    this.#admission = admission;
    this.#answers = answers;
    this.#metrics = metrics;
  }

  /** Hands over what waits for this package while it has a free tender. To be called when one has become free. */
  dispatch(taskDigest: string): void {
    const runnable = this.runnables.get(taskDigest);
    while (runnable?.pool.canCall) {
      const now = performance.now();
      const flight = this.#admission.take(taskDigest, now);
      if (flight === undefined) return;
      const noVm = lacksIsolation(flight, runnable);
      if (noVm !== undefined) {
        // It was admitted before the first tender of this task found out that there is no vm here.
        this.#answers.fail(flight, runnable, noVm);
        continue;
      }
      runnable.pool.call(flight.input, flight.deadline, (end) => {
        // The next one is on its way to the tender before this one's answer is written.
        this.dispatch(taskDigest);
        if (end.outcome !== undefined) this.#admission.learn(taskDigest, end.outcome.runMs);
        this.#answers.complete(runnable, flight, now, end);
      });
    }
  }

  /** Whoever waits in vain is told when the budget is spent, not when the tender is free. */
  watchBudgets(): void {
    const at = this.#admission.earliestDeadline;
    // A timer that rings too early costs little, and saves a new one for each offload.
    if (at >= this.#sweepAt) return;
    clearTimeout(this.#sweepTimer);
    this.#sweepAt = at;
    this.#sweepTimer = setTimeout(
      () => {
        this.#sweepAt = Number.POSITIVE_INFINITY;
        this.#admission.sweep(performance.now());
        this.watchBudgets();
      },
      // Node warns of a moment that has passed already.
      Math.max(1, Math.ceil(at - performance.now())),
    );
  }

  /** For Admission: the budget of a flight ran out before its turn came. */
  spent(flight: PendingOffload, waitedMs: number): void {
    this.#metrics.deadlineMissed();
    this.#answers.fail(flight, this.runnables.get(flight.taskDigest), spentInQueue(flight, waitedMs));
  }

  stop(): void {
    clearTimeout(this.#sweepTimer);
  }
}

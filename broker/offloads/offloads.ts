/**
 * Every offload from its arrival to its answer: the same id joins or is answered again (results), waits (admission), and
 * is run by a tender of its package (tenders).
 *
 * Hot path: one object and one promise per offload, no timer but the one for the earliest budget in the queues, no log line.
 */
import { ErrorCode, type KerbError } from '../../shared/base/errors.ts';
import { Once, type OnceLimits } from '../../shared/base/once.ts';
import { type Refusal, refusal, refusalOf } from '../../shared/base/refusal.ts';
import { RateWindow } from '../../shared/base/rolling.ts';
import type { Admission } from '../admission/admission.ts';
import type { BrokerMetrics } from '../telemetry/metrics.ts';
import type { CallEnd } from '../tenders/pool/pool-options.ts';
import { describeEnd } from '../tenders/process/describe-end.ts';
import {
  type Answer,
  type IncomingOffload,
  type PendingOffload,
  type Runnable,
  type TaskResult,
  withOwnMemory,
} from './offload.ts';
import {
  blockedTooLong,
  inputTooLarge,
  lacksIsolation,
  otherOffload,
  spentInQueue,
  unknownPackage,
} from './refusals.ts';

export interface OffloadLimits extends OnceLimits {
  /** Callers that may wait for one and the same offload. */
  readonly maxJoined: number;
}

export class Offloads {
  readonly #admission: Admission<PendingOffload>;
  readonly #once: Once<PendingOffload, TaskResult>;
  readonly #metrics: BrokerMetrics;
  readonly #limits: OffloadLimits;
  readonly #onShort: () => void;
  readonly #runnables = new Map<string, Runnable>();
  readonly #rate = new RateWindow();
  #onIdle: (() => void) | undefined;
  #sweepTimer: NodeJS.Timeout | undefined;
  /** When the timer rings. */
  #sweepAt = Number.POSITIVE_INFINITY;
  #stopping = false;
  #ok = 0;
  #refused = 0;
  #failed = 0;

  /** `onShort` is told when offloads wait and one more tender would help. */
  constructor(
    admission: Admission<PendingOffload>,
    metrics: BrokerMetrics,
    limits: OffloadLimits,
    onShort: () => void,
  ) {
    this.#admission = admission;
    this.#once = new Once({ ...limits, inputs: 'digest' });
    this.#metrics = metrics;
    this.#limits = limits;
    this.#onShort = onShort;
  }

  add(runnable: Runnable): void {
    this.#runnables.set(runnable.digest, runnable);
  }

  /** It is run no more: what waits for it is turned away, what runs comes to its end. */
  remove(taskDigest: string): void {
    this.#refuseWaiting(taskDigest, unknownPackage(taskDigest));
    this.#runnables.delete(taskDigest);
    this.#admission.forget(taskDigest);
  }

  counts() {
    return { ok: this.#ok, refused: this.#refused, failed: this.#failed, perSecond: this.#rate.perSecond() };
  }

  submit(offload: IncomingOffload, answer: Answer): void {
    const runnable = this.#runnables.get(offload.taskDigest);
    const refusal = this.#accept(offload, runnable, answer);
    if (refusal === undefined) return;
    answer(undefined, refusal);
    this.#refused++;
    this.#metrics.refused(offload.tenant, runnable?.name ?? 'unknown', refusal.code);
  }

  /** Answers from the results, joins a flight or makes a new one; or says why not. */
  #accept(offload: IncomingOffload, runnable: Runnable | undefined, answer: Answer): Refusal | undefined {
    const { tenant, vehicle, id, taskDigest, input, isolation } = offload;
    if (this.#stopping) return refusal(ErrorCode.BrokerStopping, 'this broker is stopping; use another one');
    if (runnable === undefined) return unknownPackage(taskDigest);
    if (input.length > runnable.maxInput) return inputTooLarge(offload, runnable);
    const noVm = lacksIsolation(offload, runnable);
    if (noVm !== undefined) return noVm;

    // Neither name holds a line break, so that no vehicle can make the key of another.
    const key = `${tenant}\n${vehicle}\n${id}`;
    const known = this.#once.find(key, taskDigest, input, offload.deadline.startedAt);
    if (known.found === 'conflict') return otherOffload(offload);
    if (known.found === 'pending') return this.#join(known.pending, offload, answer);
    if (known.found === 'result') {
      if (isolation === 'vm' && known.result.isolation !== 'vm') return otherOffload(offload);
      answer(known.result, undefined);
      return undefined;
    }

    const { pool } = runnable;
    const now = performance.now();
    const blocked = blockedTooLong(offload, runnable, now);
    if (blocked !== undefined) return blocked;
    const fresh: PendingOffload = { ...offload, key, answers: [answer] };
    const notAdmitted = this.#admission.admit(fresh, now);
    if (notAdmitted !== undefined) return notAdmitted;
    this.#once.begin(key, taskDigest, input, fresh);
    this.dispatch(taskDigest);
    if (pool.note(this.#admission.queuedFor(taskDigest), now)) this.#onShort();
    this.#watchBudgets();
    return undefined;
  }

  /** Hands over what waits for this package while it has a free tender. To be called when one has become free. */
  dispatch(taskDigest: string): void {
    const runnable = this.#runnables.get(taskDigest);
    while (runnable?.pool.canCall) {
      const now = performance.now();
      const flight = this.#admission.take(taskDigest, now);
      if (flight === undefined) return;
      const noVm = lacksIsolation(flight, runnable);
      if (noVm !== undefined) {
        // It was admitted before the first tender of this task found out that there is no vm here.
        this.#fail(flight, runnable, noVm);
        continue;
      }
      runnable.pool.call(flight.input, flight.deadline, (end) => {
        // The next one is on its way to the tender before this one's answer is written.
        this.dispatch(taskDigest);
        this.#complete(runnable, flight, now, end);
      });
    }
  }

  /** Whoever waits in vain is told when the budget is spent, not when the tender is free. */
  #watchBudgets(): void {
    const at = this.#admission.earliestDeadline;
    // A timer that rings too early costs little, and saves a new one for each offload.
    if (at >= this.#sweepAt) return;
    clearTimeout(this.#sweepTimer);
    this.#sweepAt = at;
    this.#sweepTimer = setTimeout(
      () => {
        this.#sweepAt = Number.POSITIVE_INFINITY;
        this.#admission.sweep(performance.now());
        this.#watchBudgets();
      },
      // Node warns of a moment that has passed already.
      Math.max(1, Math.ceil(at - performance.now())),
    );
  }

  /** For Admission: the budget of a flight ran out before its turn came. */
  readonly spent = (flight: PendingOffload, waitedMs: number): void => {
    this.#metrics.deadlineMissed();
    this.#fail(flight, this.#runnables.get(flight.taskDigest), spentInQueue(flight, waitedMs));
  };

  /** A package that will have no tender for a long time, or never: answers what waits for it. */
  abandon(taskDigest: string, error: KerbError): void {
    const quarantined = error.code === ErrorCode.PackageQuarantined;
    const code = quarantined ? error.code : ErrorCode.TenderUnavailable;
    this.#refuseWaiting(taskDigest, refusal(code, error.message, quarantined ? Number(error.context.waitMs) : 0));
  }

  /** Takes nothing any more, answers what waits, and resolves when what runs has ended or `limitMs` has passed. */
  async stop(limitMs: number): Promise<void> {
    this.#stopping = true;
    const why = refusal(ErrorCode.BrokerStopping, 'this broker is stopping; the offload was not run');
    for (const digest of this.#runnables.keys()) this.#refuseWaiting(digest, why);
    clearTimeout(this.#sweepTimer);
    if (this.#once.pending === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#onIdle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #refuseWaiting(taskDigest: string, why: Refusal): void {
    for (const flight of this.#admission.drain(taskDigest)) {
      this.#fail(flight, this.#runnables.get(taskDigest), why);
    }
  }

  #join(flight: PendingOffload, offload: IncomingOffload, answer: Answer): Refusal | undefined {
    if (flight.isolation !== offload.isolation) return otherOffload(offload);
    if (flight.answers.length >= this.#limits.maxJoined) {
      const message = `${this.#limits.maxJoined} callers wait for the offload ${offload.id} already`;
      return refusal(ErrorCode.TooManyFromTenant, message);
    }
    flight.answers.push(answer);
    return undefined;
  }

  #complete(runnable: Runnable, flight: PendingOffload, takenAt: number, end: CallEnd): void {
    const { outcome, error } = end;
    if (outcome === undefined) {
      this.#fail(flight, runnable, refusalOf(error));
      return;
    }
    this.#admission.learn(flight.taskDigest, outcome.runMs);
    this.#metrics.used(flight.tenant, runnable.name, outcome);
    if (outcome.outcome !== 'done' || outcome.status !== 0) {
      const why = describeEnd(runnable.name, outcome);
      if (why.code === ErrorCode.GuestDeadline) this.#metrics.deadlineMissed();
      this.#fail(flight, runnable, why);
      return;
    }
    const now = performance.now();
    const coldMs = runnable.pool.coldMs(flight.deadline.startedAt, takenAt);
    const result: TaskResult = {
      output: outcome.output,
      queueMs: takenAt - flight.deadline.startedAt - coldMs,
      startMs: coldMs + Math.max(0, now - takenAt - outcome.runMs),
      runMs: outcome.runMs,
      cpuMs: outcome.cpuMs,
      peakMemory: outcome.peakMemory,
      isolation: end.isolation,
    };
    for (const answer of flight.answers) answer(result, undefined);
    // From here on the answer is on its way.
    this.#ok++;
    this.#rate.add();
    this.#once.complete(flight.key, flight, withOwnMemory(result), result.output.length, now);
    this.#metrics.ok(flight.tenant, runnable.name);
    this.#metrics.took('queue', result.queueMs);
    this.#metrics.took('start', result.startMs);
    this.#metrics.took('run', outcome.runMs);
    this.#metrics.took('total', now - flight.deadline.startedAt);
    this.#noticeIdle();
  }

  #fail(flight: PendingOffload, runnable: Runnable | undefined, why: Refusal): void {
    this.#once.forget(flight.key, flight);
    for (const answer of flight.answers) answer(undefined, why);
    this.#failed++;
    this.#metrics.failed(flight.tenant, runnable?.name ?? 'unknown', why.code);
    this.#noticeIdle();
  }

  #noticeIdle(): void {
    if (this.#onIdle !== undefined && this.#once.pending === 0) this.#onIdle();
  }
}

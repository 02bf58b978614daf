/**
 * Every offload from its arrival to its answer: the same id joins or is answered again (results), waits (admission), and
 * is run by a tender of its package (tenders).
 *
 * Hot path: one object and one promise per offload, no timer but the one for the earliest budget in the queues, no log line.
 */
import { ErrorCode, type KerbError } from '../../shared/base/errors.ts';
import { type Refusal, refusal, refusalOf } from '../../shared/base/refusal.ts';
import { RateWindow } from '../../shared/base/rolling.ts';
import type { Admission, Waiting } from '../admission/admission.ts';
import type { BrokerMetrics } from '../telemetry/metrics.ts';
import type { CallEnd, TenderPool } from '../tenders/pool/pool.ts';
import { describeEnd } from '../tenders/process/describe-end.ts';
import type { ResultStore, TaskResult } from './result-store.ts';

/** An offload as it came in. Its data is checked already. */
export interface IncomingOffload {
  readonly tenant: string;
  readonly id: string;
  readonly packageDigest: string;
  readonly input: Buffer;
  readonly budgetMs: number;
  /** It is to be run in isolation `vm` or not at all. */
  readonly demandsVm: boolean;
  /** `performance.now()` when its last byte was here. */
  readonly arrivedAt: number;
}

/** Called exactly once, with one of both. */
export type Answer = (result: TaskResult | undefined, refusal: Refusal | undefined) => void;

export interface OffloadLimits {
  /** Callers that may wait for one and the same offload. */
  readonly maxJoined: number;
}

/** What can be run here. */
export interface Runnable {
  readonly digest: string;
  readonly name: string;
  readonly maxInput: number;
  readonly pool: TenderPool;
}

/** One offload that waits or runs. */
export interface PendingOffload extends Waiting {
  readonly key: string;
  readonly input: Buffer;
  readonly demandsVm: boolean;
  readonly answers: Answer[];
}

export class Offloads {
  readonly #admission: Admission<PendingOffload>;
  readonly #results: ResultStore;
  readonly #metrics: BrokerMetrics;
  readonly #limits: OffloadLimits;
  readonly #onShort: () => void;
  readonly #runnables = new Map<string, Runnable>();
  readonly #pending = new Map<string, PendingOffload>();
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
    results: ResultStore,
    metrics: BrokerMetrics,
    limits: OffloadLimits,
    onShort: () => void,
  ) {
    this.#admission = admission;
    this.#results = results;
    this.#metrics = metrics;
    this.#limits = limits;
    this.#onShort = onShort;
  }

  add(runnable: Runnable): void {
    this.#runnables.set(runnable.digest, runnable);
  }

  /** It is run no more: what waits for it is turned away, what runs comes to its end. */
  remove(packageDigest: string): void {
    this.#refuseWaiting(packageDigest, gone(packageDigest));
    this.#runnables.delete(packageDigest);
    this.#admission.forget(packageDigest);
  }

  counts() {
    return { ok: this.#ok, refused: this.#refused, failed: this.#failed, perSecond: this.#rate.perSecond() };
  }

  submit(offload: IncomingOffload, answer: Answer): void {
    const runnable = this.#runnables.get(offload.packageDigest);
    const refusal = this.#accept(offload, runnable, answer);
    if (refusal === undefined) return;
    answer(undefined, refusal);
    this.#refused++;
    this.#metrics.refused(offload.tenant, runnable?.name ?? 'unknown', refusal.code);
  }

  /** Answers from the results, joins a flight or makes a new one; or says why not. */
  #accept(offload: IncomingOffload, runnable: Runnable | undefined, answer: Answer): Refusal | undefined {
    const { tenant, id, packageDigest, input, budgetMs, demandsVm, arrivedAt } = offload;
    if (this.#stopping) return refusal(ErrorCode.BrokerStopping, 'this broker is stopping; use another one');
    if (runnable === undefined) return gone(packageDigest);
    if (input.length > runnable.maxInput) {
      const message = `${input.length} bytes of input are more than the ${runnable.maxInput} that ${runnable.name} takes`;
      return refusal(ErrorCode.TenderInputTooLarge, message);
    }

    if (demandsVm && !mayRunInVm(runnable)) return noVm(runnable);

    // A tenant's name holds no line break, so that no tenant can make the key of another one.
    const key = `${tenant}\n${id}`;
    const flight = this.#pending.get(key);
    if (flight !== undefined) return this.#join(flight, offload, answer);
    const earlier = this.#results.find(key, packageDigest, input, arrivedAt);
    if (earlier.found === 'other-offload') return otherOffload(id);
    if (earlier.found === 'result' && demandsVm && earlier.result.isolation !== 'vm') return otherOffload(id);
    if (earlier.found === 'result') {
      answer(earlier.result, undefined);
      return undefined;
    }

    const { pool } = runnable;
    const now = performance.now();
    const blocked = pool.blocked(now);
    if (blocked !== undefined && mustWaitTooLong(blocked, budgetMs)) {
      const message = `${runnable.name} cannot be run here now: ${blocked.message}`;
      const { retryAfterMs } = blocked;
      return { ...blocked, message, retryAfterMs: Number.isFinite(retryAfterMs) ? Math.ceil(retryAfterMs) : 0 };
    }
    const deadline = arrivedAt + budgetMs;
    const bytes = input.length;
    const fresh: PendingOffload = {
      key,
      tenant,
      packageDigest,
      input,
      bytes,
      demandsVm,
      arrivedAt,
      deadline,
      answers: [answer],
    };
    const notAdmitted = this.#admission.admit(fresh, now);
    if (notAdmitted !== undefined) return notAdmitted;
    this.#pending.set(key, fresh);
    this.dispatch(packageDigest);
    if (pool.note(this.#admission.queuedFor(packageDigest), now)) this.#onShort();
    this.#watchBudgets();
    return undefined;
  }

  /** Hands over what waits for this package while it has a free tender. To be called when one has become free. */
  dispatch(packageDigest: string): void {
    const runnable = this.#runnables.get(packageDigest);
    while (runnable?.pool.canCall) {
      const now = performance.now();
      const flight = this.#admission.take(packageDigest, now);
      if (flight === undefined) return;
      if (flight.demandsVm && !mayRunInVm(runnable)) {
        // It was admitted before the first tender of this task found out that there is no vm here.
        this.#fail(flight, runnable, noVm(runnable));
        continue;
      }
      runnable.pool.call(flight.input, flight.deadline - now, (end) => {
        // The next one is on its way to the tender before this one's answer is written.
        this.dispatch(packageDigest);
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
    const budget = Math.round(flight.deadline - flight.arrivedAt);
    const message = `the budget of ${budget} ms was spent in the queue (${Math.round(waitedMs)} ms); it was not run`;
    this.#fail(flight, this.#runnables.get(flight.packageDigest), refusal(ErrorCode.BudgetSpentInQueue, message));
  };

  /** A package that will have no tender for a long time, or never: answers what waits for it. */
  abandon(packageDigest: string, error: KerbError): void {
    const quarantined = error.code === ErrorCode.PackageQuarantined;
    const code = quarantined ? error.code : ErrorCode.TenderUnavailable;
    this.#refuseWaiting(packageDigest, refusal(code, error.message, quarantined ? Number(error.context.waitMs) : 0));
  }

  /** Takes nothing any more, answers what waits, and resolves when what runs has ended or `limitMs` has passed. */
  async stop(limitMs: number): Promise<void> {
    this.#stopping = true;
    const why = refusal(ErrorCode.BrokerStopping, 'this broker is stopping; the offload was not run');
    for (const digest of this.#runnables.keys()) this.#refuseWaiting(digest, why);
    clearTimeout(this.#sweepTimer);
    if (this.#pending.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#onIdle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #refuseWaiting(packageDigest: string, why: Refusal): void {
    for (const flight of this.#admission.drain(packageDigest)) {
      this.#fail(flight, this.#runnables.get(packageDigest), why);
    }
  }

  #join(flight: PendingOffload, offload: IncomingOffload, answer: Answer): Refusal | undefined {
    const same = flight.packageDigest === offload.packageDigest && flight.demandsVm === offload.demandsVm;
    if (!same || !flight.input.equals(offload.input)) {
      return otherOffload(offload.id);
    }
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
    this.#admission.learn(flight.packageDigest, outcome.runMs);
    this.#metrics.used(flight.tenant, runnable.name, outcome);
    if (outcome.outcome !== 'done' || outcome.status !== 0) {
      const why = describeEnd(runnable.name, outcome);
      if (why.code === ErrorCode.GuestDeadline) this.#metrics.deadlineMissed();
      this.#fail(flight, runnable, why);
      return;
    }
    const now = performance.now();
    const coldMs = runnable.pool.coldMs(flight.arrivedAt, takenAt);
    const result: TaskResult = {
      output: outcome.output,
      queueMs: takenAt - flight.arrivedAt - coldMs,
      startMs: coldMs + Math.max(0, now - takenAt - outcome.runMs),
      runMs: outcome.runMs,
      cpuMs: outcome.cpuMs,
      peakMemory: outcome.peakMemory,
      isolation: end.isolation,
    };
    this.#pending.delete(flight.key);
    for (const answer of flight.answers) answer(result, undefined);
    // From here on the answer is on its way.
    this.#ok++;
    this.#rate.add();
    this.#results.keep(flight.key, flight.packageDigest, flight.input, result, now);
    this.#metrics.ok(flight.tenant, runnable.name);
    this.#metrics.took('queue', result.queueMs);
    this.#metrics.took('start', result.startMs);
    this.#metrics.took('run', outcome.runMs);
    this.#metrics.took('total', now - flight.arrivedAt);
    this.#noticeIdle();
  }

  #fail(flight: PendingOffload, runnable: Runnable | undefined, why: Refusal): void {
    this.#pending.delete(flight.key);
    for (const answer of flight.answers) answer(undefined, why);
    this.#failed++;
    this.#metrics.failed(flight.tenant, runnable?.name ?? 'unknown', why.code);
    this.#noticeIdle();
  }

  #noticeIdle(): void {
    if (this.#onIdle !== undefined && this.#pending.size === 0) this.#onIdle();
  }
}

/** In quarantine everything is refused at once: the wait would be long, and its end is uncertain. */
function mustWaitTooLong({ code, retryAfterMs }: Refusal, budgetMs: number): boolean {
  return retryAfterMs >= budgetMs || (code === ErrorCode.PackageQuarantined && retryAfterMs > 0);
}

function gone(packageDigest: string): Refusal {
  const message = `this broker has no task package ${packageDigest}; its announcement lists what it has`;
  return refusal(ErrorCode.UnknownPackage, message);
}

/** A pool that has had no tender yet finds out with its first one. */
const mayRunInVm = ({ pool }: Runnable): boolean => pool.isolation === 'vm' || pool.isolation === '';

function noVm({ name, pool }: Runnable): Refusal {
  return refusal(
    ErrorCode.IsolationUnavailable,
    `isolation vm is demanded; ${name} has isolation ${pool.isolation} here: use another broker`,
  );
}

function otherOffload(id: string): Refusal {
  const message = `the id ${id} belongs to another offload of this tenant, with another task or input; choose a new id`;
  return refusal(ErrorCode.BadOffloadRequest, message);
}

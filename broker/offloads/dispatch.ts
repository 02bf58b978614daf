/**
 * From the queue to a tender: who waits is handed over when a tender is free, or told when its time is over.
 *
 * Hot path: no timer per offload but the one for the earliest budget in the queues.
 */
import { Deadline } from '../../shared/base/deadline.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import type { Admission } from '../admission/admission.ts';
import type { RunEnd } from '../admission/terms.ts';
import type { TenantAccounts } from '../tenants/policy.ts';
import type { CallEnd } from '../tenders/pool/pool-options.ts';
import { type Answers, failedRun } from './answers.ts';
import type { PendingOffload, Runnable } from './offload.ts';
import { lacksIsolation, waitedTooLong } from './refusals.ts';

/** A run whose answer has no reader is ended when it has not ended by itself after so many milliseconds. */
const ABANDONED_RUN_MS = 20;

export interface DispatchParts {
  readonly admission: Admission<PendingOffload>;
  readonly answers: Answers;
  readonly tenants: TenantAccounts;
}

export class Dispatch {
  /** By the digest of the package. */
  readonly runnables = new Map<string, Runnable>();
  readonly #admission: Admission<PendingOffload>;
  readonly #answers: Answers;
  readonly #tenants: TenantAccounts;
  onRun: (pending: PendingOffload) => void = () => {};
  #timer: NodeJS.Timeout | undefined;
  /** When the timer rings. */
  #wakeAt = Number.POSITIVE_INFINITY;

  constructor({ admission, answers, tenants }: DispatchParts) {
    this.#tenants = tenants;
    this.#admission = admission;
    this.#answers = answers;
  }

  /** Hands over what waits and can run. To be called when a tender or a slot has become free. */
  run(): void {
    for (;;) {
      const now = performance.now();
      const flight = this.#admission.take(now, this.#isFree);
      if (flight === undefined) break;
      const runnable = this.runnables.get(flight.taskDigest)!;
      const noVm = lacksIsolation(flight, runnable);
      if (noVm !== undefined) {
        // It was admitted before the first tender of this task found out that there is no vm here.
        this.#admission.ended(flight, now, 'cancelled');
        this.#answers.fail(flight, runnable, noVm);
        continue;
      }
      const { deadline } = flight;
      this.onRun(flight);
      const run = this.#tenants.begun(flight.tenant, runnable.memory, now);
      const isCut = run.longestMs < deadline.leftMs(now);
      const until = isCut ? new Deadline(run.longestMs, now) : deadline;
      flight.tender = runnable.pool.call(flight.framed ?? flight.input, until, (end) => {
        this.#tenants.ended(run, end.outcome?.cpuMs, performance.now());
        const early = isCut && end.outcome?.outcome === 'deadline' ? this.#tenants.endedEarly(run) : undefined;
        this.#callEnded(runnable, flight, now, end, deadline, early);
      });
    }
    this.watch();
  }

  /** @param early why it was ended before its deadline */
  #callEnded(
    runnable: Runnable,
    flight: PendingOffload,
    takenAt: number,
    end: CallEnd,
    deadline: Deadline,
    early: Refusal | undefined,
  ): void {
    const endedAt = performance.now();
    flight.tender = 0;
    const how = endOf(flight, endedAt, end);
    const expectedMs = this.#admission.ended(flight, endedAt, how);
    // The next one is on its way to the tender before this one's answer is written.
    this.run();
    this.#answers.ran(runnable, flight, expectedMs, endedAt - takenAt, how === 'missed' || flight.over);
    if (flight.over || early !== undefined) this.#answers.discard(runnable, flight, end);
    if (flight.over) return;
    if (early !== undefined) this.#answers.fail(flight, runnable, failedRun(runnable, flight, takenAt, end, early));
    // Its budget was spent, and meanwhile a caller came who waits for longer.
    else if (end.outcome?.outcome === 'deadline' && flight.deadline !== deadline && this.#begunAgain(flight, endedAt))
      return;
    else this.#answers.complete(runnable, flight, takenAt, end);
  }

  #begunAgain(flight: PendingOffload, now: number): boolean {
    if (this.#admission.admit(flight, now) !== undefined) return false;
    this.run();
    return true;
  }

  /** Takes one out that no caller waits for. One that runs gets a moment to end by itself: a new tender costs more. */
  withdraw(flight: PendingOffload): void {
    if (this.#admission.remove(flight) || flight.tender === 0) return;
    const { tender } = flight;
    const stop = () => {
      if (flight.tender === tender) this.runnables.get(flight.taskDigest)?.pool.abort(tender);
    };
    setTimeout(stop, ABANDONED_RUN_MS).unref();
  }

  /** For Admission: it goes on and on, and has given its slot back. */
  isLong(flight: PendingOffload): void {
    this.runnables.get(flight.taskDigest)?.pool.isLong(flight.tender);
  }

  readonly #isFree = (taskDigest: string, tenant: string): boolean => {
    const runnable = this.runnables.get(taskDigest);
    return runnable?.pool.canCall === true && this.#tenants.mayBegin(tenant, runnable.memory, performance.now());
  };

  /** Whoever waits in vain is told when the budget is spent, not when the tender is free. */
  watch(): void {
    const at = this.#admission.wakeAt;
    // A timer that rings too early costs little, and saves a new one for each offload.
    if (at >= this.#wakeAt) return;
    clearTimeout(this.#timer);
    this.#wakeAt = at;
    this.#timer = setTimeout(
      () => {
        this.#wakeAt = Number.POSITIVE_INFINITY;
        this.#admission.sweep(performance.now());
        this.run();
      },
      // Node warns of a moment that has passed already.
      Math.max(1, Math.ceil(at - performance.now())),
    );
  }

  /** For Admission: the time of a flight ran out before its turn came, or is too short now. */
  dropped(flight: PendingOffload, waitedMs: number): void {
    this.#answers.fail(flight, this.runnables.get(flight.taskDigest), waitedTooLong(flight, waitedMs));
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** Only what the task itself took teaches how long it takes. */
function endOf({ deadline, over }: PendingOffload, now: number, { outcome }: CallEnd): RunEnd {
  if (outcome === undefined || over) return 'cancelled';
  if (outcome.outcome === 'deadline' || deadline.isOver(now)) return 'missed';
  return outcome.outcome === 'done' ? 'met' : 'failed';
}

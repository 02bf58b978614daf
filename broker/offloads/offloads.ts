/**
 * Every offload from its arrival to its answer: the same id joins or is answered again (results), waits (admission), and
 * is run by a tender of its package (tenders).
 *
 * Hot path: one object and one promise per offload, no timer and no log line.
 */
import { ErrorCode, type KerbError } from '../../shared/base/errors.ts';
import { Once, type OnceLimits } from '../../shared/base/once.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';
import type { Admission } from '../admission/admission.ts';
import type { TenderOutlook } from '../admission/terms.ts';
import type { BrokerMetrics } from '../telemetry/metrics.ts';
import { Answers } from './answers.ts';
import { Dispatch } from './dispatch.ts';
import type { Answer, IncomingOffload, PendingOffload, Runnable, TaskResult } from './offload.ts';
import { blockedTooLong, inputTooLarge, lacksIsolation, otherOffload, stopping, unknownPackage } from './refusals.ts';

export interface OffloadLimits extends OnceLimits {
  /** Callers that may wait for one and the same offload. */
  readonly maxJoined: number;
}

const NO_TENDERS: TenderOutlook = { ready: 0, most: 1, startMs: 0 };

export class Offloads {
  readonly #admission: Admission<PendingOffload>;
  readonly #once: Once<PendingOffload, TaskResult>;
  readonly #limits: OffloadLimits;
  readonly #onShort: () => void;
  readonly #answers: Answers;
  readonly #dispatch: Dispatch;
  /** Why nothing is taken that was not asked for before; undefined when it is. */
  refuseNew: () => Refusal | undefined = () => undefined;
  #stopping = false;

  /** `onShort` is told when offloads wait and one more tender would help. */
  constructor(
    admission: Admission<PendingOffload>,
    metrics: BrokerMetrics,
    limits: OffloadLimits,
    onShort: () => void,
  ) {
    this.#admission = admission;
    this.#once = new Once({ ...limits, inputs: 'digest' });
    this.#limits = limits;
    this.#onShort = onShort;
    const answers = new Answers(this.#once, metrics);
    this.#answers = answers;
    this.#dispatch = new Dispatch({ admission, answers });
  }

  add(runnable: Runnable): void {
    this.#dispatch.runnables.set(runnable.digest, runnable);
  }

  /** It is run no more: what waits for it is turned away, what runs comes to its end. */
  remove(taskDigest: string): void {
    this.#refuseWaiting(taskDigest, unknownPackage(taskDigest));
    this.#dispatch.runnables.delete(taskDigest);
    this.#admission.forget(taskDigest);
  }

  counts() {
    return this.#answers.counts();
  }

  submit(offload: IncomingOffload, answer: Answer): void {
    const runnable = this.#dispatch.runnables.get(offload.taskDigest);
    const refusal = this.#accept(offload, runnable, answer);
    if (refusal !== undefined) this.#answers.refuse(offload, runnable, refusal, answer);
  }

  /** `started` is told of each offload that goes to a tender. */
  onRun(started: (pending: PendingOffload) => void): void {
    this.#dispatch.onRun = started;
  }

  /** Answers from the results, joins a flight or makes a new one; or says why not. */
  #accept(offload: IncomingOffload, runnable: Runnable | undefined, answer: Answer): Refusal | undefined {
    const { tenant, vehicle, id, taskDigest, input, isolation } = offload;
    if (this.#stopping) return this.refuseNew() ?? stopping();
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

    const closed = this.refuseNew();
    if (closed !== undefined) return closed;
    const { pool } = runnable;
    const now = performance.now();
    const blocked = blockedTooLong(offload, runnable, now);
    if (blocked !== undefined) return blocked;
    const fresh: PendingOffload = { ...offload, key, answers: [answer] };
    const notAdmitted = this.#admission.admit(fresh, now);
    if (notAdmitted !== undefined) return notAdmitted;
    this.#once.begin(key, taskDigest, input, fresh);
    this.#dispatch.run();
    if (pool.note(this.#admission.queuedFor(taskDigest), now)) this.#onShort();
    this.#dispatch.watch();
    return undefined;
  }

  /** Hands over what waits and can run. To be called when a tender has become free. */
  dispatch(): void {
    this.#dispatch.run();
  }

  /** For Admission: the tenders of a package. */
  tendersOf(taskDigest: string): TenderOutlook {
    return this.#dispatch.runnables.get(taskDigest)?.pool.outlook ?? NO_TENDERS;
  }

  /** For Admission: the time of a flight ran out before its turn came, or is too short now. */
  dropped(flight: PendingOffload, waitedMs: number): void {
    this.#dispatch.dropped(flight, waitedMs);
  }

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
    for (const digest of this.#dispatch.runnables.keys()) this.#refuseWaiting(digest, why);
    this.#dispatch.stop();
    await this.#answers.idle(limitMs);
  }

  #refuseWaiting(taskDigest: string, why: Refusal): void {
    for (const flight of this.#admission.drain(taskDigest)) {
      this.#answers.fail(flight, this.#dispatch.runnables.get(taskDigest), why);
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
}

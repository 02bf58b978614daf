/**
 * Every offload from its arrival to its answer: the same id joins or is answered again (results), waits (admission), and
 * is run by a tender of its package (tenders).
 *
 * Hot path: one object and one promise per offload, no timer and no log line.
 */
import type { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode, type KerbError } from '../../shared/base/errors.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';
import type { Admission } from '../admission/admission.ts';
import type { TenderOutlook } from '../admission/terms.ts';
import type { Results } from '../results/results.ts';
import type { BrokerMetrics } from '../telemetry/metrics.ts';
import { type OffloadTenants, UNLIMITED } from '../tenants/unlimited.ts';
import { Answers } from './answers.ts';
import { answerOne, callerOf, claimedBy, Flights, keyOf, watchCallers } from './callers.ts';
import { Checks } from './checks.ts';
import { Dispatch } from './dispatch.ts';
import {
  type AnnouncedOffload,
  type Answer,
  type AnyOffload,
  type Caller,
  type ClaimedTask,
  type IncomingOffload,
  type Link,
  type PendingOffload,
  type Runnable,
  type StatefulOffload,
  stateText,
  type WithdrawnTask,
} from './offload.ts';
import { cancelled, otherOffload, unknownPackage } from './refusals.ts';
import { serveSessions } from './session-host.ts';
import type { Sessions } from './sessions.ts';

export interface OffloadLimits {
  /** Callers that may wait for one and the same offload. */
  readonly maxJoined: number;
}

const NO_TENDERS: TenderOutlook = { ready: 0, most: 1, startMs: 0 };

export class Offloads {
  readonly #admission: Admission<PendingOffload>;
  readonly #results: Results;
  readonly #flights: Flights;
  readonly #tenants: OffloadTenants;
  readonly #limits: OffloadLimits;
  readonly #onShort: () => void;
  readonly #answers: Answers;
  /** Hands over what waits to tenders. */
  readonly runs: Dispatch;
  readonly #checks: Checks;

  /** `onShort` is told when offloads wait and one more tender would help. */
  constructor(
    admission: Admission<PendingOffload>,
    results: Results,
    metrics: BrokerMetrics,
    limits: OffloadLimits,
    onShort: () => void,
    tenants: OffloadTenants = UNLIMITED,
  ) {
    this.#tenants = tenants;
    this.#flights = new Flights(tenants);
    this.#admission = admission;
    this.#results = results;
    this.#checks = new Checks(results, tenants);
    this.#limits = limits;
    this.#onShort = onShort;
    const answers = new Answers(results, this.#flights, metrics);
    this.#answers = answers;
    this.runs = new Dispatch({ admission, answers, tenants });
  }

  add(runnable: Runnable): void {
    this.#checks.withdrawn.delete(runnable.digest);
    this.runs.runnables.set(runnable.digest, runnable);
  }

  /** It is run no more: what waits for it is turned away, what runs comes to its end. */
  remove(taskDigest: string, why: Refusal = unknownPackage(taskDigest)): void {
    this.#checks.withdrawn.delete(taskDigest);
    this.#refuseWaiting(taskDigest, why);
    this.runs.runnables.delete(taskDigest);
    this.#admission.forget(taskDigest);
  }

  /** Likewise, and whoever asks for it later is told why. */
  withdraw(task: WithdrawnTask): void {
    const runnable = this.runs.runnables.get(task.digest);
    if (runnable !== undefined) runnable.endedBy = task.why;
    this.remove(task.digest, task.why);
    this.#checks.withdrawn.set(task.digest, task);
  }

  /** From now on nothing is taken that was not asked for before, when `why` has a reason. */
  refuseNewBy(why: () => Refusal | undefined): void {
    this.#checks.refuseNew = why;
  }

  counts() {
    return this.#answers.counts();
  }

  /** @param link the connection that it came by, for `linkLost` */
  submit(incoming: IncomingOffload, answer: Answer, link?: Link): void {
    const offload = this.#tenants.bounded(incoming);
    const runnable = this.runs.runnables.get(offload.taskDigest);
    const refusal = this.#accept(offload, runnable, callerOf(offload, answer, link));
    if (refusal !== undefined) this.#answers.refuse(offload, runnable, refusal, answer);
  }

  /** One whose input is not here. `want` is called when that is to be sent, and all of it is submitted then; else `answer`. */
  announce(incoming: AnnouncedOffload, answer: Answer, want: () => void, link?: Link): void {
    const offload = this.#tenants.bounded(incoming);
    const runnable = this.runs.runnables.get(offload.taskDigest);
    const refusal = this.#foresee(offload, runnable, callerOf(offload, answer, link), want);
    if (refusal !== undefined) this.#answers.refuse(offload, runnable, refusal, answer);
  }

  /**
   * Tells all its callers that it was cancelled. Taken out when it waits; ended when it runs.
   * @returns false: no such offload of this vehicle waits or runs
   */
  cancel(tenant: string, vehicle: string, id: string): boolean {
    const flight = this.#flights.get(keyOf({ tenant, vehicle, id }));
    return flight !== undefined && this.#cancel(flight, flight.callers, 'its vehicle does not want it any more');
  }

  /** Cancels what only callers by this link wait for, who want no result after its loss. */
  linkLost(link: Link): void {
    for (const flight of this.#flights.of(link)) {
      const callers = flight.callers.filter((caller) => caller.link === link && caller.keepMs === 0);
      this.#cancel(flight, callers, 'its vehicle has disconnected');
    }
  }

  /** For a broker that its vehicle has moved on to. @returns undefined: it neither waits nor runs here, and is not kept */
  claim(
    names: Pick<IncomingOffload, 'tenant' | 'vehicle' | 'id'>,
    until: Deadline,
    answer: Answer,
  ): ClaimedTask | undefined {
    const key = keyOf(names);
    const flight = this.#flights.get(key);
    if (flight === undefined) return this.#results.claim(key, answer);
    const caller = claimedBy(flight, until, answer, this.#limits.maxJoined);
    if (caller !== undefined) this.#watch(flight);
    return caller && flight;
  }

  /** Answers from the results, joins a flight or makes a new one; or says why not. */
  #accept(offload: IncomingOffload, runnable: Runnable | undefined, caller: Caller): Refusal | undefined {
    const unfit = this.#checks.unfit(offload, runnable);
    if (unfit !== undefined || runnable === undefined) return unfit;
    const key = keyOf(offload);
    const known = this.#results.find(key, offload);
    if (known.found === 'conflict') return otherOffload(offload);
    if (known.found === 'pending') return this.#join(known.pending, offload, caller);
    if (known.found === 'result') {
      const { answer, link } = caller;
      this.#results.give(known.result, offload, answer, () => this.submit(offload, answer, link));
      return undefined;
    }

    const now = performance.now();
    const notNow = this.#checks.notNow(offload, runnable, now);
    if (notNow !== undefined) return notNow;
    const fresh: PendingOffload = { ...offload, key, callers: [caller], links: [], tender: 0, over: false };
    const isStateful = fresh.state !== undefined;
    const notAdmitted = isStateful ? undefined : this.#admission.admit(fresh, now);
    if (notAdmitted !== undefined) return notAdmitted;
    this.#results.begin(fresh);
    this.#flights.begin(fresh);
    if (isStateful) this.#checks.sessions?.begin(fresh as StatefulOffload, runnable);
    else this.#admitted(runnable, now);
    return undefined;
  }

  #admitted({ digest, pool }: Runnable, now: number): void {
    this.runs.run();
    if (pool.note(this.#admission.queuedFor(digest), now)) this.#onShort();
    this.runs.watch();
  }

  /** Offloads with state are taken from now on. */
  useSessions(sessions: Sessions): void {
    this.#checks.sessions = sessions;
    const admitted = (runnable: Runnable, now: number) => this.#admitted(runnable, now);
    const [admission, answers, flights] = [this.#admission, this.#answers, this.#flights];
    serveSessions(sessions, { admission, answers, flights, runnables: this.runs.runnables, admitted });
  }

  /** As `#accept`, as far as that can be told without the input. */
  #foresee(
    offload: AnnouncedOffload,
    runnable: Runnable | undefined,
    caller: Caller,
    want: () => void,
  ): Refusal | undefined {
    const unfit = this.#checks.unfit(offload, runnable);
    if (unfit !== undefined || runnable === undefined) return unfit;
    const known = this.#results.findAnnounced(keyOf(offload), offload);
    if (known.found === 'conflict') return otherOffload(offload);
    if (known.found === 'pending') return this.#join(known.pending, offload, caller);
    if (known.found === 'result') {
      const { answer, link } = caller;
      this.#results.give(known.result, offload, answer, () => this.announce(offload, answer, want, link));
      return undefined;
    }
    const now = performance.now();
    const notNow = this.#checks.notNow(offload, runnable, now) ?? this.#admission.foresee(offload, now);
    if (notNow === undefined) want();
    return notNow;
  }

  /** Hands over what waits and can run. To be called when a tender has become free. */
  dispatch(): void {
    this.runs.run();
  }

  /** For the announcement: how long a small offload would wait now, in milliseconds, and how many tenders wait. */
  load(): { readonly queueMs: number; readonly freeTenders: number } {
    let freeTenders = 0;
    for (const { pool } of this.runs.runnables.values()) freeTenders += pool.free;
    return { queueMs: this.#admission.queueMs(performance.now()), freeTenders };
  }

  /** For Admission: the tenders of a package. */
  tendersOf(taskDigest: string): TenderOutlook {
    return this.runs.runnables.get(taskDigest)?.pool.outlook ?? NO_TENDERS;
  }

  /** A package that will have no tender for a long time, or never: answers what waits for it. */
  abandon(taskDigest: string, error: KerbError): void {
    const quarantined = error.code === ErrorCode.PackageQuarantined;
    const code = quarantined ? error.code : ErrorCode.TenderUnavailable;
    this.#refuseWaiting(taskDigest, refusal(code, error.message, quarantined ? Number(error.context.waitMs) : 0));
  }

  /** Takes nothing any more, answers what waits, and resolves when what runs has ended or `limitMs` has passed. */
  async stop(limitMs: number): Promise<void> {
    this.#checks.isStopping = true;
    const why = refusal(ErrorCode.BrokerStopping, 'this broker is stopping; the offload was not run');
    for (const digest of this.runs.runnables.keys()) this.#refuseWaiting(digest, why);
    this.#checks.sessions?.refuseWaiting(why);
    this.runs.stop();
    await this.#answers.idle(limitMs);
  }

  #refuseWaiting(taskDigest: string, why: Refusal): void {
    for (const flight of this.#admission.drain(taskDigest)) {
      this.#answers.fail(flight, this.runs.runnables.get(taskDigest), why);
    }
  }

  #join(flight: PendingOffload, offload: AnyOffload, caller: Caller): Refusal | undefined {
    const isOther = flight.isolation !== offload.isolation || stateText(flight.state) !== stateText(offload.state);
    if (isOther) return otherOffload(offload);
    if (flight.callers.length >= this.#limits.maxJoined) {
      const message = `${this.#limits.maxJoined} callers wait for the offload ${offload.id} already`;
      return refusal(ErrorCode.TooManyFromTenant, message);
    }
    this.#results.join(flight, offload);
    flight.callers.push(caller);
    this.#flights.join(flight, caller);
    if (caller.deadline.at > flight.deadline.at) {
      flight.deadline = caller.deadline;
      this.#admission.extended(flight);
    }
    this.#watch(flight);
    return undefined;
  }

  #watch(flight: PendingOffload): void {
    watchCallers(flight, () => this.#withdraw(flight, ErrorCode.BudgetSpentInQueue));
  }

  #cancel(flight: PendingOffload, callers: readonly Caller[], why: string): boolean {
    // Its answer is on its way.
    const waits = this.#admission.waits(flight) || this.#checks.sessions?.waits(flight) === true;
    if (flight.tender === 0 && !waits) return false;
    for (const caller of [...callers]) answerOne(flight, caller, cancelled(flight, why));
    if (flight.callers.length === 0) this.#withdraw(flight, ErrorCode.OffloadCancelled);
    return true;
  }

  #withdraw(flight: PendingOffload, code: ErrorCode): void {
    this.#answers.abandon(flight, this.runs.runnables.get(flight.taskDigest), code);
    this.runs.withdraw(flight);
  }
}

/**
 * Decides which offload may wait, which one runs next, and which one is not worth a start any more. Pure: values in, values
 * out, and the time is an argument.
 *
 * Entries that wait are in a `FairQueue`, running ones in `Runs`, and learned run times in `RunTimes`. The queue is bounded
 * in number and in bytes, and only an entry that can be expected to finish in time is admitted.
 */
import { ErrorCode } from '../../shared/base/errors.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';
import { rankOf } from '../../shared/protocol/service-class.ts';
import type { MayRun } from './class-queue.ts';
import { FairQueue, NO_RULES } from './fair-queue.ts';
import { Outlook, type Prospect, unreachable } from './outlook.ts';
import { dueOf, Place } from './place.ts';
import { noRoom, Shares } from './queue-room.ts';
import { type RunTime, RunTimes } from './run-times.ts';
import { Runs } from './runs.ts';
import type { AdmissionLimits, AdmissionOptions, OrderRules, RunEnd, TenderOutlook, Waiting } from './terms.ts';

/** A tenant may have so many runs at once also where there is a single slot, so that an endless one does not end its service. */
const LEAST_RUNS = 2;
const PLENTY: TenderOutlook = { ready: Infinity, most: Infinity, startMs: 0 };

export class Admission<T extends Waiting> {
  readonly #limits: AdmissionLimits;
  readonly #tenants: OrderRules;
  readonly #tendersOf: (taskDigest: string) => TenderOutlook;
  readonly #onDropped: (entry: T, waitedMs: number) => void;
  readonly #queue: FairQueue<Place<T>>;
  readonly #runs: Runs<Place<T>>;
  readonly #times = new RunTimes();
  readonly #outlook: Outlook;
  readonly #shares: Shares;
  /** Waiting and running. */
  readonly #places = new Map<T, Place<T>>();
  #earliest = Number.POSITIVE_INFINITY;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #taken = 0;
  /** The argument of the `take` that is under way, for `#mayRun`. */
  #isFree: MayRun = () => true;
  /** Likewise: there is a slot for tenants of which nothing runs, and for no other. */
  #yieldsOnly = false;

  constructor({ limits, tenants, tendersOf, onDropped, onLong }: AdmissionOptions<T>) {
    this.#limits = limits;
    this.#tenants = tenants ?? NO_RULES;
    this.#tendersOf = tendersOf ?? (() => PLENTY);
    this.#onDropped = onDropped;
    this.#queue = new FairQueue(this.#tenants);
    this.#runs = new Runs<Place<T>>(limits, (run, now) => {
      const tookMs = now - run.takenAt;
      this.#queue.charge(run.ticket, tookMs - run.chargedMs);
      run.chargedMs = tookMs;
      onLong?.(run.ticket.entry);
    });
    this.#outlook = new Outlook();
    this.#shares = new Shares();
  }

  get queued(): number {
    return this.#queue.size;
  }
  get queuedBytes(): number {
    return this.#shares.bytes;
  }
  get running(): number {
    return this.#runs.size;
  }
  runningOf(tenant: string): number {
    return this.#shares.runningOf(tenant);
  }
  queuedFor(taskDigest: string): number {
    return this.#shares.queuedFor(taskDigest);
  }

  /** Before this moment no time runs out here: when to call `sweep`. Infinity when nothing waits. */
  get earliestDeadline(): number {
    return this.#queue.size === 0 ? Number.POSITIVE_INFINITY : this.#earliest;
  }
  /** When to look at the queue again although nothing has happened. */
  get wakeAt(): number {
    if (this.#queue.size === 0) return Number.POSITIVE_INFINITY;
    // A slot that was free at the last look found no entry that could run, and would find none now.
    const earliest = Math.min(this.#earliest, this.#runs.lookAt);
    for (const slotAt of [this.#runs.yieldAt(), this.#runs.slotAt()])
      if (slotAt > this.#lookedAt) return Math.min(earliest, slotAt);
    return earliest;
  }
  /** How long a small offload of a new tenant would wait, in milliseconds. */
  queueMs(now: number): number {
    if (this.#queue.size === 0 && this.#runs.hasSlot(now)) return 0;
    return (this.#queue.workMs + this.#runs.leftMs(now)) / this.#runs.slots;
  }
  /** Milliseconds that nine of ten runs of this package take for this tenant; 0: not known. */
  expectedRunMs(tenant: string, taskDigest: string, bytes: number): number {
    const time = this.#times.of(tenant, taskDigest, bytes);
    return time.count === 0 ? 0 : time.high;
  }

  /** Puts the entry into the queue, or says why not. */
  admit(entry: T, now: number): Refusal | undefined {
    const { deadline, tenant, taskDigest, input } = entry;
    if (deadline.isOver(now)) {
      return refusal(ErrorCode.BudgetSpentInQueue, 'the budget was spent before the offload arrived');
    }
    let reason = this.#noRoom(entry);
    if (reason !== undefined) {
      // An entry whose time is over keeps no other out.
      this.sweep(now);
      reason = this.#noRoom(entry);
    }
    if (reason !== undefined) return reason;
    const rank = rankOf(entry.serviceClass);
    const time = this.#times.of(tenant, taskDigest, input.length);
    const prospect = this.#look(entry, rank, time, now);
    if (!prospect.reachable) return unreachable(prospect, entry);
    const place = new Place(entry, rank, this.#taken++, time, prospect);
    this.#places.set(entry, place);
    if (place.due < this.earliestDeadline) this.#earliest = place.due;
    this.#queue.push(place);
    this.#shares.waits(entry, place.costMs, 1);
    return undefined;
  }

  /** Why an entry that comes later would not be admitted as it looks now. Changes nothing. */
  foresee(entry: Waiting, now: number): Refusal | undefined {
    const reason = this.#noRoom(entry);
    if (reason !== undefined) return reason;
    const { tenant, taskDigest, input, serviceClass } = entry;
    const rank = rankOf(serviceClass);
    const prospect = this.#look(entry, rank, this.#times.of(tenant, taskDigest, input.length), now, true);
    return prospect.reachable ? undefined : unreachable(prospect, entry);
  }

  /** The next one to run, of those whose package can take it. It runs until `ended`. What is in vain is dropped first. */
  take(now: number, isFree: MayRun): T | undefined {
    this.sweep(now);
    if (this.#queue.size === 0) return undefined;
    this.#runs.look(now);
    this.#yieldsOnly = !this.#runs.hasSlot(now);
    if (this.#yieldsOnly && this.#runs.yieldAt() > now) return undefined;
    this.#isFree = isFree;
    this.#lookedAt = now;
    for (;;) {
      const place = this.#queue.next(this.#mayRun);
      if (place === undefined) {
        // With a slot, one more tender may be started for it.
        if (this.#mayYieldTo(this.#queue.next(this.#isNext))) this.#runs.release(now);
        return undefined;
      }
      if (!this.#mayYieldTo(place)) return undefined;
      const { entry, due, time } = place;
      const leftMs = due - now;
      const waitedMs = entry.deadline.elapsedMs(now);
      const tooLate = leftMs < time.needed(leftMs + waitedMs) && !place.probe;
      this.#outlook.turned(place.tenant, place.rank, tooLate);
      if (tooLate) {
        this.#drop(place, now);
        continue;
      }
      this.#runs.release(now);
      this.#queue.begin(place);
      this.#shares.waits(entry, place.costMs, -1);
      this.#shares.runs(entry.tenant, 1);
      place.hadMs = leftMs;
      this.#runs.begin(place, now);
      return entry;
    }
  }

  /** A run that `take` began has come to its end. @returns how long it had been expected to take, in milliseconds */
  ended(entry: T, now: number, end: RunEnd): number {
    const place = this.#places.get(entry);
    const run = place && this.#runs.end(place);
    if (place === undefined || run === undefined) return 0;
    this.#places.delete(entry);
    this.#shares.runs(entry.tenant, -1);
    const tookMs = now - run.takenAt;
    // A run that was cut off has cost a tender as well.
    const tenderMs = end === 'cancelled' && tookMs > 0 ? this.#tendersOf(place.taskDigest).startMs : 0;
    this.#queue.charge(place, tookMs + tenderMs - run.chargedMs);
    const { time, probe } = place;
    if (end === 'missed') time.missed(place.hadMs);
    else if (end !== 'cancelled') {
      if (end === 'met') time.met();
      if (probe && end === 'met') time.probed();
      time.learn(tookMs);
    }
    return place.costMs;
  }

  waits(entry: T): boolean {
    return (this.#places.get(entry)?.place ?? -1) >= 0;
  }

  /** Takes one out that waits; false when it does not. */
  remove(entry: T): boolean {
    const place = this.#places.get(entry);
    if (place === undefined || place.place < 0) return false;
    this.#takeOut(place);
    return true;
  }

  /** A caller waits for it longer than the ones before: `deadline` is another one. */
  extended(entry: T): void {
    const place = this.#places.get(entry);
    if (place === undefined || place.place < 0) return;
    this.#queue.remove(place);
    place.due = dueOf(entry);
    this.#queue.push(place);
  }

  /** Drops what has no time left. Costs nothing while `earliestDeadline` lies ahead. */
  sweep(now: number): void {
    while (this.earliestDeadline <= now) {
      let earliest = Number.POSITIVE_INFINITY;
      const over: Place<T>[] = [];
      for (const place of this.#queue.heads()) {
        if (place.due <= now) over.push(place);
        else earliest = Math.min(earliest, place.due);
      }
      this.#earliest = over.length > 0 ? now : earliest;
      for (const place of over) this.#drop(place, now);
    }
  }

  /** Empties the queue of one package; its entries are the caller's to answer. */
  drain(taskDigest: string): T[] {
    const places = this.#queue.of(taskDigest);
    for (const place of places) this.#takeOut(place);
    return places.map(({ entry }) => entry);
  }

  /** The package says that one run costs so much. */
  declare(taskDigest: string, costMs: number): void {
    this.#times.declare(taskDigest, costMs);
  }

  /** Nothing waits for this package, and nothing will. */
  forget(taskDigest: string): void {
    this.#times.forget(taskDigest);
  }

  readonly #mayRun = (taskDigest: string, tenant: string): boolean =>
    this.#isNext(taskDigest, tenant) && this.#isFree(taskDigest, tenant);

  readonly #isNext = (_taskDigest: string, tenant: string): boolean =>
    this.#yieldsOnly ? this.#shares.runningOf(tenant) === 0 : this.#mayHaveMore(tenant);

  /** Those that have given their slots back count too: no tenant gets more of the processors by running on and on. */
  #mayHaveMore(tenant: string): boolean {
    return this.#shares.runningOf(tenant) < Math.max(LEAST_RUNS, this.#limits.maxRunning);
  }

  /** Nothing yields to what is less urgent: more of its own class may follow what runs. */
  #mayYieldTo(place: Place<T> | undefined): boolean {
    return place !== undefined && (!this.#yieldsOnly || place.rank <= this.#runs.next!.ticket.rank);
  }

  #look(entry: Waiting, rank: number, time: RunTime, now: number, foresees = false): Prospect {
    const due = dueOf(entry);
    const { taskDigest, tenant } = entry;
    const yields = this.#shares.runningOf(tenant) === 0;
    const situation = {
      tenant,
      rank,
      time,
      due,
      now,
      budgetMs: due - entry.deadline.startedAt,
      wayBackMs: this.#limits.wayBackMs,
      slots: this.#runs.slots,
      hasSlot: this.#runs.hasSlot(now) && this.#mayHaveMore(tenant),
      beforeMs: this.#queue.size === 0 ? 0 : this.#queue.workBefore(rank, tenant, due),
      runningMs: this.#runs.leftMs(now, undefined, yields),
      packageQueuedMs: this.#shares.workFor(taskDigest),
      packageRunningMs: () => this.#runs.leftMs(now, taskDigest, yields),
      tenders: this.#tendersOf(taskDigest),
    };
    return this.#outlook.look(situation, foresees);
  }

  #noRoom(entry: Waiting): Refusal | undefined {
    const parallel = Math.min(this.#runs.slots, Math.max(1, this.#tendersOf(entry.taskDigest).ready));
    return noRoom(entry, this.#shares, this.#limits, parallel);
  }

  #drop(place: Place<T>, now: number): void {
    this.#takeOut(place);
    this.#onDropped(place.entry, place.entry.deadline.elapsedMs(now));
  }

  #takeOut(place: Place<T>): void {
    this.#queue.remove(place);
    this.#places.delete(place.entry);
    this.#shares.waits(place.entry, place.costMs, -1);
  }
}

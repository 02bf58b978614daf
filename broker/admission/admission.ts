/**
 * Who may wait, and who is next. Pure: values in, values out, and the time is an argument.
 *
 * First come, first served, one queue per task package. `WaitingQueue` is the joint for another order (earliest deadline
 * first): nothing else here knows how a queue is ordered.
 */
import { ErrorCode } from '../../shared/errors.ts';

/** What admission needs to know of an offload. Times in milliseconds of one monotonic clock. */
export interface Waiting {
  readonly packageDigest: string;
  readonly tenant: string;
  readonly arrivedAt: number;
  /** Arrival plus budget: from here on nobody waits for the answer. */
  readonly deadline: number;
}

export interface AdmissionLimits {
  /** Offloads that may wait for one package. */
  readonly maxQueuedPerPackage: number;
  /** Offloads of one tenant that may wait, over all packages. */
  readonly maxQueuedPerTenant: number;
}

export interface AdmissionRefusal {
  readonly code: ErrorCode;
  /** One sentence for the caller. */
  readonly message: string;
  /** When it may be worth another try, in milliseconds; 0: no hint. */
  readonly retryAfterMs: number;
}

interface WaitingQueue<T> {
  readonly size: number;
  push(entry: T): void;
  shift(): T | undefined;
  /** Takes out every entry for which `spent` is true. */
  sweep(spent: (entry: T) => boolean): void;
}

/** How much the newest run time counts in the mean that retry hints come from. */
const MEAN_WEIGHT = 0.1;
const MAX_RETRY_HINT_MS = 10_000;

export class Admission<T extends Waiting> {
  readonly #limits: AdmissionLimits;
  readonly #onSpent: (entry: T, waitedMs: number) => void;
  readonly #queues = new Map<string, WaitingQueue<T>>();
  readonly #queuedByTenant = new Map<string, number>();
  readonly #meanRunMs = new Map<string, number>();
  #queued = 0;
  #earliest = Number.POSITIVE_INFINITY;

  /** `onSpent` is told of every entry that is dropped because its budget ran out while it waited. */
  constructor(limits: AdmissionLimits, onSpent: (entry: T, waitedMs: number) => void) {
    this.#limits = limits;
    this.#onSpent = onSpent;
  }

  get queued(): number {
    return this.#queued;
  }

  /** Before this moment no budget runs out here: when to call `sweep`. Infinity when nothing waits. */
  get earliestDeadline(): number {
    return this.#queued === 0 ? Number.POSITIVE_INFINITY : this.#earliest;
  }

  queuedFor(packageDigest: string): number {
    return this.#queues.get(packageDigest)?.size ?? 0;
  }

  /** Puts the entry into its queue, or says why not. */
  admit(entry: T, now: number): AdmissionRefusal | undefined {
    if (entry.deadline <= now) {
      return {
        code: ErrorCode.BudgetSpentInQueue,
        message: 'the budget was spent before the offload arrived',
        retryAfterMs: 0,
      };
    }
    let queue = this.#queues.get(entry.packageDigest);
    if (queue === undefined) {
      queue = new FirstComeQueue<T>();
      this.#queues.set(entry.packageDigest, queue);
    }
    const { maxQueuedPerPackage, maxQueuedPerTenant } = this.#limits;
    const full = () => queue.size >= maxQueuedPerPackage;
    const greedy = () => (this.#queuedByTenant.get(entry.tenant) ?? 0) >= maxQueuedPerTenant;
    // Those whose time is over keep nobody out.
    if (full() || greedy()) this.sweep(now);
    if (greedy()) {
      return {
        code: ErrorCode.TooManyFromTenant,
        message: `tenant ${entry.tenant} has ${maxQueuedPerTenant} offloads waiting here, as many as it may`,
        retryAfterMs: this.#retryHint(entry.packageDigest),
      };
    }
    if (full()) {
      return {
        code: ErrorCode.QueueFull,
        message: `${maxQueuedPerPackage} offloads wait for this task already, as many as may`,
        retryAfterMs: this.#retryHint(entry.packageDigest),
      };
    }
    if (entry.deadline < this.earliestDeadline) this.#earliest = entry.deadline;
    queue.push(entry);
    this.#count(entry.tenant, 1);
    return undefined;
  }

  /** The next one to run, after dropping those that nobody waits for any more. */
  take(packageDigest: string, now: number): T | undefined {
    const queue = this.#queues.get(packageDigest);
    if (queue === undefined) return undefined;
    for (;;) {
      const entry = queue.shift();
      if (entry === undefined) return undefined;
      this.#count(entry.tenant, -1);
      if (entry.deadline > now) return entry;
      this.#onSpent(entry, now - entry.arrivedAt);
    }
  }

  /** Drops what has no budget left. Costs nothing while `earliestDeadline` lies ahead. */
  sweep(now: number): void {
    if (this.earliestDeadline > now) return;
    this.#earliest = Number.POSITIVE_INFINITY;
    for (const queue of this.#queues.values()) {
      queue.sweep((entry) => {
        if (entry.deadline > now) {
          this.#earliest = Math.min(this.#earliest, entry.deadline);
          return false;
        }
        this.#count(entry.tenant, -1);
        this.#onSpent(entry, now - entry.arrivedAt);
        return true;
      });
    }
  }

  /** Empties one queue; its entries are the caller's to answer. */
  drain(packageDigest: string): T[] {
    const queue = this.#queues.get(packageDigest);
    const entries: T[] = [];
    for (let entry = queue?.shift(); entry !== undefined; entry = queue?.shift()) {
      this.#count(entry.tenant, -1);
      entries.push(entry);
    }
    return entries;
  }

  /** How long one run took, for the hints. */
  learn(packageDigest: string, runMs: number): void {
    const mean = this.#meanRunMs.get(packageDigest);
    this.#meanRunMs.set(packageDigest, mean === undefined ? runMs : mean + (runMs - mean) * MEAN_WEIGHT);
  }

  /** When half of those who wait now will be through. */
  #retryHint(packageDigest: string): number {
    const mean = this.#meanRunMs.get(packageDigest) ?? 1;
    return Math.min(MAX_RETRY_HINT_MS, Math.max(1, Math.ceil((this.queuedFor(packageDigest) * mean) / 2)));
  }

  #count(tenant: string, change: 1 | -1): void {
    this.#queued += change;
    const queued = (this.#queuedByTenant.get(tenant) ?? 0) + change;
    if (queued === 0) this.#queuedByTenant.delete(tenant);
    else this.#queuedByTenant.set(tenant, queued);
  }
}

/** An array with a moving head, so that taking the first of many costs nothing. */
class FirstComeQueue<T> implements WaitingQueue<T> {
  #entries: (T | undefined)[] = [];
  #head = 0;

  get size(): number {
    return this.#entries.length - this.#head;
  }

  push(entry: T): void {
    this.#entries.push(entry);
  }

  shift(): T | undefined {
    const entry = this.#entries[this.#head];
    if (entry === undefined) return undefined;
    this.#entries[this.#head++] = undefined; // it must not be kept alive
    if (this.#head === this.#entries.length) {
      this.#entries.length = 0;
      this.#head = 0;
    } else if (this.#head >= 64 && this.#head * 2 >= this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
    return entry;
  }

  sweep(spent: (entry: T) => boolean): void {
    this.#entries = this.#entries.slice(this.#head).filter((entry) => !spent(entry as T));
    this.#head = 0;
  }
}

/**
 * Decides which offload may wait and which one runs next. Pure: values in, values out, and the time is an argument.
 *
 * One queue per task package, ordered by `WaitingQueue`: tenants in turn, each by earliest deadline. What waits is
 * bounded in number and in bytes.
 */
import type { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';
import { WaitingQueue } from './waiting-queue.ts';

/** The properties of an offload that admission decides by. Times in milliseconds of one monotonic clock. */
export interface Waiting {
  readonly taskDigest: string;
  readonly tenant: string;
  /** It begins with the arrival; when it is over, nobody waits for the answer. */
  readonly deadline: Deadline;
  /** What it keeps in memory while it waits. */
  readonly input: { readonly length: number };
}

export interface AdmissionLimits {
  /** Offloads that may wait for one package. */
  readonly maxQueuedPerPackage: number;
  /** Offloads of one tenant that may wait, over all packages. */
  readonly maxQueuedPerTenant: number;
  /** Bytes that may wait, over all packages; one tenant may fill half of it. A single offload may always wait. */
  readonly maxQueuedBytes: number;
}

interface TenantShare {
  count: number;
  bytes: number;
}

/** How much the newest run time counts in the mean that retry hints come from. */
const MEAN_WEIGHT = 0.1;
const MAX_RETRY_HINT_MS = 10_000;

export class Admission<T extends Waiting> {
  readonly #limits: AdmissionLimits;
  readonly #onSpent: (entry: T, waitedMs: number) => void;
  readonly #queues = new Map<string, WaitingQueue<T>>();
  readonly #shares = new Map<string, TenantShare>();
  readonly #meanRunMs = new Map<string, number>();
  #queued = 0;
  #queuedBytes = 0;
  #earliest = Number.POSITIVE_INFINITY;

  /** `onSpent` is told of every entry that is dropped because its budget ran out while it waited. */
  constructor(limits: AdmissionLimits, onSpent: (entry: T, waitedMs: number) => void) {
    this.#limits = limits;
    this.#onSpent = onSpent;
  }

  get queued(): number {
    return this.#queued;
  }
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Before this moment no budget runs out here: when to call `sweep`. Infinity when nothing waits. */
  get earliestDeadline(): number {
    return this.#queued === 0 ? Number.POSITIVE_INFINITY : this.#earliest;
  }

  queuedFor(taskDigest: string): number {
    return this.#queues.get(taskDigest)?.size ?? 0;
  }

  /** Puts the entry into its queue, or says why not. */
  admit(entry: T, now: number): Refusal | undefined {
    if (entry.deadline.isOver(now)) {
      return refusal(ErrorCode.BudgetSpentInQueue, 'the budget was spent before the offload arrived');
    }
    let queue = this.#queues.get(entry.taskDigest);
    if (queue === undefined) {
      queue = new WaitingQueue<T>();
      this.#queues.set(entry.taskDigest, queue);
    }
    let reason = this.#noRoom(entry, queue.size);
    if (reason !== undefined) {
      // Those whose time is over keep nobody out.
      this.sweep(now);
      reason = this.#noRoom(entry, queue.size);
    }
    if (reason !== undefined) return reason;
    if (entry.deadline.at < this.earliestDeadline) this.#earliest = entry.deadline.at;
    queue.push(entry);
    this.#count(entry, 1);
    return undefined;
  }

  /** The next one to run, after dropping those that nobody waits for any more. */
  take(taskDigest: string, now: number): T | undefined {
    this.sweep(now);
    const entry = this.#queues.get(taskDigest)?.shift();
    if (entry !== undefined) this.#count(entry, -1);
    return entry;
  }

  /** Drops what has no budget left. Costs nothing while `earliestDeadline` lies ahead. */
  sweep(now: number): void {
    if (this.earliestDeadline > now) return;
    this.#earliest = Number.POSITIVE_INFINITY;
    for (const queue of this.#queues.values()) {
      queue.sweep(now, (entry) => {
        this.#count(entry, -1);
        this.#onSpent(entry, entry.deadline.elapsedMs(now));
      });
      this.#earliest = Math.min(this.#earliest, queue.earliestDeadline());
    }
  }

  /** Empties one queue; its entries are the caller's to answer. */
  drain(taskDigest: string): T[] {
    const queue = this.#queues.get(taskDigest);
    const entries: T[] = [];
    for (let entry = queue?.shift(); entry !== undefined; entry = queue?.shift()) {
      this.#count(entry, -1);
      entries.push(entry);
    }
    return entries;
  }

  /** How long one run took, for the hints. */
  learn(taskDigest: string, runMs: number): void {
    const mean = this.#meanRunMs.get(taskDigest);
    this.#meanRunMs.set(taskDigest, mean === undefined ? runMs : mean + (runMs - mean) * MEAN_WEIGHT);
  }

  /** Nothing waits for this package, and nothing will. */
  forget(taskDigest: string): void {
    this.#queues.delete(taskDigest);
    this.#meanRunMs.delete(taskDigest);
  }

  /** When half of those who wait now will be through. */
  #retryHint(taskDigest: string): number {
    const mean = this.#meanRunMs.get(taskDigest) ?? 1;
    return Math.min(MAX_RETRY_HINT_MS, Math.max(1, Math.ceil((this.queuedFor(taskDigest) * mean) / 2)));
  }

  #noRoom({ taskDigest, tenant, input }: T, queuedForPackage: number): Refusal | undefined {
    const { maxQueuedPerPackage, maxQueuedPerTenant, maxQueuedBytes } = this.#limits;
    const bytes = input.length;
    const share = this.#shares.get(tenant);
    if (share !== undefined && share.count >= maxQueuedPerTenant) {
      const message = `tenant ${tenant} has ${maxQueuedPerTenant} offloads waiting here, as many as it may`;
      return refusal(ErrorCode.TooManyFromTenant, message, this.#retryHint(taskDigest));
    }
    if (share !== undefined && share.bytes + bytes > maxQueuedBytes / 2) {
      const message = `tenant ${tenant} has ${share.bytes} bytes of input waiting here; ${bytes} more are too many`;
      return refusal(ErrorCode.TooManyFromTenant, message, this.#retryHint(taskDigest));
    }
    if (queuedForPackage >= maxQueuedPerPackage) {
      const message = `${maxQueuedPerPackage} offloads wait for this task already, as many as may`;
      return refusal(ErrorCode.QueueFull, message, this.#retryHint(taskDigest));
    }
    if (this.#queuedBytes > 0 && this.#queuedBytes + bytes > maxQueuedBytes) {
      const message = `${this.#queuedBytes} bytes of input wait here already; ${bytes} more are too many`;
      return refusal(ErrorCode.QueueFull, message, this.#retryHint(taskDigest));
    }
    return undefined;
  }

  #count({ tenant, input }: T, change: 1 | -1): void {
    this.#queued += change;
    this.#queuedBytes += change * input.length;
    let share = this.#shares.get(tenant);
    if (share === undefined) {
      share = { count: 0, bytes: 0 };
      this.#shares.set(tenant, share);
    }
    share.count += change;
    share.bytes += change * input.length;
    if (share.count === 0) this.#shares.delete(tenant);
  }
}

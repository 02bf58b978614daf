import type { Ticket } from './class-queue.ts';

/** One that is under way. */
export interface Run<T extends Ticket> {
  readonly ticket: T;
  readonly takenAt: number;
  /** Milliseconds that its tenant has been charged for it. */
  chargedMs: number;
  /** It has run for so long that it gave its slot back. */
  long: boolean;
  /** It did so for a tenant of which nothing ran, and has not gone on for `longRunMs`. */
  yielded: boolean;
}

export interface RunLimits {
  /** Offloads that run at the same time, those that have been running for `longRunMs` left out. */
  readonly maxRunning: number;
  /** Milliseconds after which a run gives its slot to other tenants. Its own may have `maxRunning` runs in all, or two. */
  readonly longRunMs: number;
  /** Likewise to a tenant of which nothing runs. */
  readonly yieldMs: number;
}

/**
 * The runs under way. A run has a slot, until it has taken so long that others could not wait for it: then the operating system
 * shares the processors among it and the others. Because a tenant may have no more runs than there are slots (and
 * two), the long ones and the others together, no tenant gets more of the processors than a fair share by running on and on. Pure.
 */
export class Runs<T extends Ticket> {
  readonly #limits: RunLimits;
  readonly #onLong: (run: Run<T>, now: number) => void;
  /** In the order of their starts. */
  readonly #runs = new Map<T, Run<T>>();
  #long = 0;
  #yielded = 0;

  /** @param onLong a run has given its slot back */
  constructor(limits: RunLimits, onLong: (run: Run<T>, now: number) => void) {
    this.#limits = limits;
    this.#onLong = onLong;
  }

  get size(): number {
    return this.#runs.size;
  }

  get #held(): number {
    return this.#runs.size - this.#long;
  }

  get slots(): number {
    return this.#limits.maxRunning;
  }

  begin(ticket: T, now: number): void {
    this.#runs.set(ticket, { ticket, takenAt: now, chargedMs: ticket.costMs, long: false, yielded: false });
  }

  end(ticket: T): Run<T> | undefined {
    const run = this.#runs.get(ticket);
    if (run === undefined) return undefined;
    this.#runs.delete(ticket);
    if (run.long) this.#long--;
    if (run.yielded) this.#yielded--;
    return run;
  }

  /** True when one more may run, after `release` if need be. */
  hasSlot(now: number): boolean {
    return this.#held < this.#limits.maxRunning || this.slotAt() <= now;
  }

  /** Makes a slot free, of the run that has had one for longest; only while `hasSlot`, or after `yieldAt`. */
  release(now: number): void {
    if (this.#held < this.#limits.maxRunning) return;
    for (const run of this.#runs.values()) {
      if (run.long) continue;
      run.long = true;
      this.#long++;
      run.yielded = now < run.takenAt + this.#limits.longRunMs;
      if (run.yielded) this.#yielded++;
      else this.#onLong(run, now);
      return;
    }
  }

  /** Tells of those that have yielded and go on and on. */
  look(now: number): void {
    if (this.#yielded === 0) return;
    for (const run of this.#runs.values()) {
      if (!run.yielded || now < run.takenAt + this.#limits.longRunMs) continue;
      run.yielded = false;
      this.#yielded--;
      this.#onLong(run, now);
    }
  }

  /** When the next one of them has gone on for so long. */
  get lookAt(): number {
    if (this.#yielded > 0)
      for (const run of this.#runs.values()) if (run.yielded) return run.takenAt + this.#limits.longRunMs;
    return Number.POSITIVE_INFINITY;
  }

  /** When the next run has had its slot for long enough; Infinity: none has one, or there are free ones. */
  slotAt(): number {
    return this.#heldFor(this.#limits.longRunMs);
  }

  /** Likewise for a tenant of which nothing runs. */
  yieldAt(): number {
    return this.#heldFor(Math.min(this.#limits.yieldMs, this.#limits.longRunMs));
  }

  /** The one that gives its slot back next, when others wait for it. */
  get next(): Run<T> | undefined {
    if (this.#held < this.#limits.maxRunning) return undefined;
    for (const run of this.#runs.values()) if (!run.long) return run;
    return undefined;
  }

  #heldFor(ms: number): number {
    return (this.next?.takenAt ?? Number.POSITIVE_INFINITY) + ms;
  }

  /**
   * Work that is left of those that hold a slot; with a package, of its runs alone.
   * @param yields for a tenant of which nothing runs
   */
  leftMs(now: number, taskDigest?: string, yields = false): number {
    const { longRunMs, yieldMs } = this.#limits;
    const most = yields ? Math.min(yieldMs, longRunMs) : longRunMs;
    let sum = 0;
    for (const { ticket, takenAt, long } of this.#runs.values()) {
      if (taskDigest === undefined ? long : ticket.taskDigest !== taskDigest) continue;
      const left = Math.max(ticket.costMs - (now - takenAt), ticket.costMs / 4);
      sum += long ? left : Math.min(left, most);
    }
    return sum;
  }
}

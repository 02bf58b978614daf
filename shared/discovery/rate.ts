/** How often something may be done. */
export interface RateLimit {
  readonly perSecond: number;
  /** At once. */
  readonly most: number;
}

/** Counts how often something was done against a limit. Times are milliseconds of one monotonic clock. */
export class Rate {
  #tokens: number;
  #at: number;
  readonly #limit: RateLimit;

  constructor(limit: RateLimit, now: number) {
    this.#limit = limit;
    this.#tokens = limit.most;
    this.#at = now;
  }

  /** False: it is over the limit, and nothing is counted. */
  take(now: number): boolean {
    const { perSecond, most } = this.#limit;
    this.#tokens = Math.min(most, this.#tokens + (Math.max(0, now - this.#at) * perSecond) / 1000);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

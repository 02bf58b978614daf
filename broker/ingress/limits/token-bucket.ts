/** How often something may be done: as often as there are tokens, which come back at an even rate. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #most: number;
  #tokens: number;
  #at: number;

  /** @param most tokens that it can hold, and holds at first @param now milliseconds of a clock that only goes forward */
  constructor(perSecond: number, most: number, now: number) {
    this.#perMs = perSecond / 1000;
    this.#most = most;
    this.#tokens = most;
    this.#at = now;
  }

  has(now: number): boolean {
    this.#fill(now);
    return this.#tokens >= 1;
  }

  isFull(now: number): boolean {
    this.#fill(now);
    return this.#tokens >= this.#most;
  }

  /** False: there is none, and nothing is taken. */
  take(now: number): boolean {
    if (!this.has(now)) return false;
    this.#tokens--;
    return true;
  }

  giveBack(): void {
    this.#tokens = Math.min(this.#most, this.#tokens + 1);
  }

  #fill(now: number): void {
    if (now <= this.#at) return;
    // Without a limit there is nothing to count: Infinity minus one stays what it is.
    this.#tokens = Math.min(this.#most, this.#tokens + (now - this.#at) * this.#perMs);
    this.#at = now;
  }
}

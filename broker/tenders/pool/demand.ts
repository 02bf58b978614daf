/**
 * Most offloads that waited or ran at the same time in this window and the one before; a window begins when something is
 * noted. Pure; times in milliseconds.
 */
export class Demand {
  readonly #windowMs: number;
  #peak = 0;
  #peakBefore = 0;
  #windowEnd = Number.NEGATIVE_INFINITY;

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** `atOnce` offloads wait or run at `now`. */
  note(atOnce: number, now: number): void {
    if (now >= this.#windowEnd) {
      const isNext = now < this.#windowEnd + this.#windowMs;
      this.#peakBefore = isNext ? this.#peak : 0;
      this.#peak = 0;
      this.#windowEnd = now + this.#windowMs;
    }
    if (atOnce > this.#peak) this.#peak = atOnce;
  }

  get peak(): number {
    return Math.max(this.#peak, this.#peakBefore);
  }

  /** Until then `peak` does not become lower. */
  get until(): number {
    return this.#windowEnd;
  }
}

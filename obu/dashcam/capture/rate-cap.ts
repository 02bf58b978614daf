/**
 * Lets at most `perSecond` events through, as evenly as they come. Events are due at equal intervals; one that is less
 * than half an interval early or late passes and leaves the schedule as it is, so a camera that runs at the capped rate
 * with jitter loses nothing, a faster one is thinned to the cap on average, and nothing is made up for after a gap.
 * In any stretch of time at most two more pass than the rate says.
 */
export class RateCap {
  readonly #intervalMs: number;
  /** When the next event is due; monotonic milliseconds. */
  #dueMs = Number.NEGATIVE_INFINITY;

  constructor(perSecond: number) {
    this.#intervalMs = 1000 / perSecond;
  }

  /** Returns true when an event at `nowMs` (monotonic milliseconds) passes. */
  take(nowMs: number): boolean {
    const lateMs = nowMs - this.#dueMs;
    if (lateMs < -this.#intervalMs / 2) return false;
    this.#dueMs = (lateMs < this.#intervalMs / 2 ? this.#dueMs : nowMs) + this.#intervalMs;
    return true;
  }
}

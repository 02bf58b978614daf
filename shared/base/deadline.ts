/** The longest that a timer of Node takes; a longer one would ring at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Until when an answer is worth something: the budget that somebody gave, and what this hop keeps of it for the way back.
 * Every hop makes its own from the milliseconds that the last one sent, because two machines have no clock in common.
 * Times are milliseconds of `performance.now()`, which nobody sets. A budget that is not a number is spent from the start.
 *
 * Hot path: one small object per hop of an offload.
 */
export class Deadline {
  /** When the budget began to run. */
  readonly startedAt: number;
  /** The budget as it was given. */
  readonly originalMs: number;
  /** What of it is kept for the way back. */
  readonly reserveMs: number;
  /** When it is over, the reserve taken off. */
  readonly at: number;

  constructor(originalMs: number, startedAt: number = performance.now(), reserveMs = 0) {
    this.startedAt = startedAt;
    this.originalMs = originalMs;
    this.reserveMs = reserveMs;
    this.at = startedAt + originalMs - reserveMs;
  }

  /** Zero or less when it is over. */
  leftMs(now: number = performance.now()): number {
    return this.at - now;
  }

  /**
   * What is left for the next hop when so much more is needed for the way back. Never less than half of it, so that one
   * slow moment cannot make the estimate of a way starve all that follow.
   */
  leftForNextHopMs(onTheWayMs: number, now: number = performance.now()): number {
    const left = this.leftMs(now);
    return Math.max(left - onTheWayMs, left / 2);
  }

  elapsedMs(now: number = performance.now()): number {
    return now - this.startedAt;
  }

  isOver(now: number = performance.now()): boolean {
    return !(this.at > now);
  }

  /** What is left, for `setTimeout`. */
  timerMs(now: number = performance.now()): number {
    const left = this.leftMs(now);
    return left > 0 ? Math.min(left, MAX_TIMER_MS) : 0;
  }

  /** The budget as its asker wrote it. What came of it has lost some microseconds on the way, and has a tail of digits. */
  get budgetText(): string {
    const { originalMs } = this;
    return `${originalMs < 10 ? Number(originalMs.toFixed(1)) : Math.round(originalMs)} ms`;
  }
}

/**
 * When the frames of a log are due. The log's own clock may have been set while it was recorded: a step back, or one
 * far ahead, is no time that passed on the bus, so the replay goes on at once from there.
 */

/** Frames of several interfaces are written a little out of order; a step back up to this long is not a set clock. */
const REORDERING_US = 100_000;

export interface ClockJump {
  /** Microseconds; negative when the clock went back. */
  readonly byUs: number;
}

export class ReplayClock {
  readonly #maxGapUs: number;
  /** Time of the log that is due at the start of the replay; moved by each jump. */
  #originUs: number | undefined;
  /** Latest time of the log since the last jump. */
  #lastUs = 0;

  /** @param maxGapMs longest pause of the log that is kept, in milliseconds */
  constructor(maxGapMs: number) {
    this.#maxGapUs = maxGapMs * 1000;
  }

  /**
   * Takes the next frame's time.
   * @param timeUs microseconds, as in the log
   * @returns milliseconds after the start at which it is due, and the jump of the log's clock in front of it
   */
  next(timeUs: number): { readonly dueMs: number; readonly jump: ClockJump | undefined } {
    if (this.#originUs === undefined) {
      this.#originUs = timeUs;
      this.#lastUs = timeUs;
    }
    const byUs = timeUs - this.#lastUs;
    const isJump = byUs < -REORDERING_US || byUs > this.#maxGapUs;
    if (isJump) this.#originUs += byUs;
    if (isJump || byUs > 0) this.#lastUs = timeUs;
    return { dueMs: Math.max(0, timeUs - this.#originUs) / 1000, jump: isJump ? { byUs } : undefined };
  }
}

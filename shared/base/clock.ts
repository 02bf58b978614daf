/**
 * Time for intervals. The wall clock is set while a car drives (no battery, GNSS, NTP), so ages, back-offs and time-outs
 * never run on it; it is only for stamps that people read.
 */

/**
 * Milliseconds of a clock that is never set. It began at what the wall clock said when this process started, so that
 * values that are kept over a restart stay in order as long as nobody sets the clock between.
 */
export function steadyMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Milliseconds since 1970, as the wall clock has it now, of a moment of the steady clock. */
export function wallOf(steady: number): number {
  return Date.now() - (steadyMs() - steady);
}

/** The reverse: when it was by the steady clock, given how long ago it is by the wall clock. Never in the future. */
export function steadyOf(wallMs: number): number {
  return steadyMs() - Math.max(0, Date.now() - wallMs);
}

/** Beyond this the system's clock was set (by GNSS or NTP), and is followed. Its own reading is a whole millisecond. */
const STEP_MS = 2;

/** Wall-clock times with the resolution of the monotonic clock, which still follow the system's clock when it is set. */
export class FineClock {
  #offsetMs = Number.NaN;

  /** Microseconds since 1970 at the monotonic time `monotonicMs`, which is now. */
  wallUs(monotonicMs: number, systemMs: number = Date.now()): number {
    const driftMs = systemMs - (monotonicMs + this.#offsetMs);
    if (!(Math.abs(driftMs) <= STEP_MS)) this.#offsetMs = systemMs - monotonicMs;
    return Math.round((monotonicMs + this.#offsetMs) * 1000);
  }
}

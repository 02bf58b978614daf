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

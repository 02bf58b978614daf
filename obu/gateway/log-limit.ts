/** Lines that one workload may cause in the time below. */
const LINES = 20;
const WINDOW_MS = 10_000;

/** Keeps a workload that fails in a loop from filling the log of the OBU. */
export class LogLimit {
  readonly #onSkipped: (skipped: number) => void;
  #windowEndsMs = 0;
  #taken = 0;

  /** @param onSkipped Called with the number of lines that were held back, when the next one may be written. */
  constructor(onSkipped: (skipped: number) => void) {
    this.#onSkipped = onSkipped;
  }

  /** Whether a line may be written now. */
  take(nowMs: number = performance.now()): boolean {
    if (nowMs >= this.#windowEndsMs) {
      const skipped = this.#taken - LINES;
      this.#windowEndsMs = nowMs + WINDOW_MS;
      this.#taken = 0;
      if (skipped > 0) this.#onSkipped(skipped);
    }
    this.#taken++;
    return this.#taken <= LINES;
  }
}

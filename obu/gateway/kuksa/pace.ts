/** Calls of one container that are handled in one go; beyond that it waits, so that nobody else has to. */
const MAX_BURST = 32;
const BURST_MS = 5;

/** Spreads the calls of one container over time, as the gateway does with the messages on its socket. */
export class Pace {
  #taken = 0;
  #next: Promise<void> | undefined;

  /** Resolves when the next call may be handled. */
  async turn(): Promise<void> {
    for (;;) {
      this.#next ??= new Promise((resolve) => {
        setTimeout(() => {
          this.#next = undefined;
          this.#taken = 0;
          resolve();
        }, BURST_MS);
      });
      if (++this.#taken <= MAX_BURST) return;
      await this.#next;
    }
  }
}

/**
 * How long a container may keep the OBU waiting on one of its connections. A frozen one can do nothing: only time in
 * which it was awake counts.
 */

/** Until its Hello is complete. */
export const HELLO_MS = 10_000;
/** Until a message is complete that it has begun. */
export const MESSAGE_MS = 60_000;
/** Until it has read anything of what waits for it. That is only said: it loses its own, and nobody else's. */
export const READ_MS = 5000;

/** One wait with an end. */
export class Patience {
  readonly #ms: number;
  readonly #awakeSinceMs: () => number | undefined;
  readonly #onOver: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param awakeSinceMs by `performance.now()`; undefined: it is frozen now */
  constructor(ms: number, awakeSinceMs: () => number | undefined, onOver: () => void) {
    this.#ms = ms;
    this.#awakeSinceMs = awakeSinceMs;
    this.#onOver = onOver;
  }

  /** Waits from now on, if it doesn't already. */
  begin(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const since = this.#awakeSinceMs();
      if (since === undefined || performance.now() - since < this.#ms) this.begin();
      else this.#onOver();
    }, this.#ms);
  }

  /** What was waited for has come, or will not come any more. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

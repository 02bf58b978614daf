/** Parts into which the connections are divided: one of them is looked at in each step. */
const STEPS = 20;

export interface Beating {
  /** `performance.now()` when its client was last heard. */
  readonly heardAt: number;
  /** Asks its client for a sign of life. */
  ask(): void;
  /** Its client has been silent for too long. */
  silent(): void;
}

/**
 * Asks each connection for a sign of life once in `everyMs`, and tells of those that have given none for `limitMs`. One
 * timer for all, in steps: thousands of timers that are due in the same turn of the event loop would keep it from the
 * network.
 */
export class Heartbeat {
  readonly #everyMs: number;
  readonly #limitMs: number;
  readonly #parts = Array.from({ length: STEPS }, () => new Set<Beating>());
  #timer: NodeJS.Timeout | undefined;
  #next = 0;

  constructor(everyMs: number, limitMs: number) {
    this.#everyMs = everyMs;
    this.#limitMs = limitMs;
  }

  /** @returns what ends that */
  add(one: Beating): () => void {
    // All parts of the same size: the work of each step is the same.
    const smallest = this.#parts.reduce((least, part) => (part.size < least.size ? part : least));
    smallest.add(one);
    this.#timer ??= setInterval(this.#step, this.#everyMs / STEPS).unref();
    return () => smallest.delete(one);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const part of this.#parts) part.clear();
  }

  readonly #step = (): void => {
    const now = performance.now();
    const part = this.#parts[this.#next]!;
    this.#next = (this.#next + 1) % STEPS;
    for (const one of part) {
      if (now - one.heardAt > this.#limitMs) one.silent();
      else one.ask();
    }
  };
}

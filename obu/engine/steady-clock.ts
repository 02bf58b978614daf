/** How many times of one container are remembered: it is started and it ends. */
const MAX_TIMES = 8;

/**
 * Milliseconds since 1970 that go on evenly: the wall clock of when this was made, and what has passed since. A wall clock
 * that is set, by years at that, ends no back-off and makes nothing older.
 */
export class SteadyClock {
  readonly #wallMs: () => number;
  readonly #passedMs: () => number;
  readonly #startMs: number;
  /** By what they belong to: wall time, and the same moment on this clock. */
  readonly #known = new Map<string, Map<number, number>>();

  constructor(wallMs: () => number = Date.now, passedMs: () => number = () => performance.now()) {
    this.#wallMs = wallMs;
    this.#passedMs = passedMs;
    this.#startMs = wallMs() - passedMs();
  }

  now(): number {
    return Math.round(this.#startMs + this.#passedMs());
  }

  /**
   * A moment of wall time on this clock. How long ago it was is true when it is seen for the first time, which is what
   * counts from then on. 0, for never, stays 0; what is in the future is now.
   */
  atOf(of: string, wallMs: number): number {
    if (wallMs === 0) return 0;
    const times = this.#known.get(of) ?? new Map<number, number>();
    this.#known.set(of, times);
    const known = times.get(wallMs);
    if (known !== undefined) return known;
    const at = this.now() - Math.max(0, this.#wallMs() - wallMs);
    if (times.size >= MAX_TIMES) times.clear();
    times.set(wallMs, at);
    return at;
  }

  forget(of: string): void {
    this.#known.delete(of);
  }
}

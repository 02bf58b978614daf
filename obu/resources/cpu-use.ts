/** So far back the mean looks: as far as the kernel's average of pressure does. */
const WINDOW_MS = 10_000;

/** How many CPUs each container uses, as a mean over the last seconds. */
export class CpuUse {
  /** CPU seconds that a container has used so far; undefined when that is not known. */
  readonly #secondsOf: (container: string) => number | undefined;
  /** Samples by container: [milliseconds, seconds], the oldest first. */
  #samples: ReadonlyMap<string, readonly (readonly [number, number])[]> = new Map();

  constructor(secondsOf: (container: string) => number | undefined) {
    this.#secondsOf = secondsOf;
  }

  /**
   * To be called every few seconds.
   * @param running container by workload
   * @returns CPUs by workload, of those of which it is known; undefined when it is known of none that run
   */
  measure(running: ReadonlyMap<string, string>, nowMs: number): ReadonlyMap<string, number> | undefined {
    const samples = new Map<string, (readonly [number, number])[]>();
    const use = new Map<string, number>();
    for (const [workload, container] of running) {
      const seconds = this.#secondsOf(container);
      if (seconds === undefined) continue;
      const before = (this.#samples.get(container) ?? []).filter(([ms]) => nowMs - ms <= WINDOW_MS);
      samples.set(container, [...before, [nowMs, seconds]]);
      const [ms, then] = before[0] ?? [nowMs, seconds];
      use.set(workload, nowMs > ms ? ((seconds - then) * 1000) / (nowMs - ms) : 0);
    }
    this.#samples = samples;
    return running.size > 0 && samples.size === 0 ? undefined : use;
  }
}

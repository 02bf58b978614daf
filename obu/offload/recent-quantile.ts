/** Fewer samples say nothing yet: the first run of a task is often its slowest. */
const MIN_SAMPLES = 5;
const MAX_SAMPLES = 16;

/** A quantile of the newest samples; bounded, and cheap enough for every offload. */
export class RecentQuantile {
  readonly #share: number;
  readonly #samples: number[] = [];
  #next = 0;
  #value: number | undefined;

  /** @param share 0.9: nine of ten samples lie below */
  constructor(share: number) {
    this.#share = share;
  }

  /** Undefined: too few samples. */
  get value(): number | undefined {
    return this.#value;
  }

  /** A sample that is not a number of at least 0 is left out: it comes from a peer. */
  add(sample: number): void {
    if (!(sample >= 0 && sample < Number.POSITIVE_INFINITY)) return;
    this.#samples[this.#next] = sample;
    this.#next = (this.#next + 1) % MAX_SAMPLES;
    if (this.#samples.length < MIN_SAMPLES) return;
    const sorted = Float64Array.from(this.#samples).sort();
    this.#value = sorted[Math.min(sorted.length - 1, Math.floor(this.#share * sorted.length))];
  }
}

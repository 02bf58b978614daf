/** Buckets are 1 % wide, from a microsecond to three hours. */
const LEAST_MS = 0.001;
const GROWTH = Math.log(1.01);
const BUCKETS = 2320;

export interface LatencySummary {
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** Milliseconds, as a histogram of a fixed size: an hour of offloads takes no more memory than a second of them. */
export class Latencies {
  readonly #buckets = new Uint32Array(BUCKETS);
  #count = 0;
  #max = 0;

  get count(): number {
    return this.#count;
  }

  add(ms: number): void {
    const bucket = Math.floor(Math.log(Math.max(ms, LEAST_MS) / LEAST_MS) / GROWTH);
    this.#buckets[Math.min(bucket, BUCKETS - 1)]!++;
    this.#count++;
    this.#max = Math.max(this.#max, ms);
  }

  /** All 0 when nothing was added. The quantiles are right to 1 %, the largest is exact. */
  summary(): LatencySummary {
    const [p50, p90, p99] = [0.5, 0.9, 0.99].map((q) => this.#quantile(q)) as [number, number, number];
    return { count: this.#count, p50, p90, p99, max: this.#max };
  }

  /** Nearest rank. */
  #quantile(q: number): number {
    let left = Math.ceil(q * this.#count);
    if (left === 0) return 0;
    const bucket = this.#buckets.findIndex((count) => {
      left -= count;
      return left <= 0;
    });
    return Math.min(LEAST_MS * Math.exp((bucket + 0.5) * GROWTH), this.#max);
  }
}

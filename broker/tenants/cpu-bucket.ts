/**
 * Computing time that a tenant has used and not got back yet. Pure; milliseconds, of one monotonic clock where they are
 * moments. The rate is an argument, so that another policy takes effect at once and forgives nothing.
 */
export interface CpuRate {
  /** Given back in each minute. */
  readonly perMinuteMs: number;
  /** May be used at once. */
  readonly burstMs: number;
}

export class CpuBucket {
  #usedMs = 0;
  #at: number;

  constructor(now: number) {
    this.#at = now;
  }

  /** Time that is left; zero or less when it is spent. Infinity without a limit. */
  leftMs(rate: CpuRate, now: number): number {
    if (rate.burstMs === Number.POSITIVE_INFINITY) return rate.burstMs;
    return rate.burstMs - this.#usedAt(rate, now);
  }

  charge(ms: number, rate: CpuRate, now: number): void {
    this.#usedMs = this.#usedAt(rate, now) + ms;
    this.#at = now;
  }

  /** Until so much is left again; zero when it is. */
  waitMs(wantedMs: number, rate: CpuRate, now: number): number {
    const missing = Math.min(wantedMs, rate.burstMs) - this.leftMs(rate, now);
    return missing <= 0 ? 0 : (missing / rate.perMinuteMs) * 60_000;
  }

  isFull(rate: CpuRate, now: number): boolean {
    return this.#usedAt(rate, now) === 0;
  }

  #usedAt({ perMinuteMs }: CpuRate, now: number): number {
    if (perMinuteMs === Number.POSITIVE_INFINITY) return 0;
    return Math.max(0, this.#usedMs - (Math.max(0, now - this.#at) * perMinuteMs) / 60_000);
  }
}

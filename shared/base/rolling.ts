/**
 * Recent measurements in bounded memory: rates and quantiles over the last few seconds.
 *
 * Hot path: recording touches one or two numbers and allocates nothing.
 */

/** Milliseconds over the last window; all 0 when there was nothing to measure, which `count` says. */
export interface Quantiles {
  /** How many values these are of. */
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Milliseconds that never go backwards. */
export type Clock = () => number;

const monotonic: Clock = () => performance.now();
const DEFAULT_WINDOW_MS = 5000;
const SLOTS = 10;

/** Divides time into slots and says which one is current and which ones have to be emptied first. */
class SlotRing {
  readonly slotMs: number;
  readonly #now: Clock;
  readonly #clear: (slot: number) => void;
  #since: number;
  #current: number;

  constructor(windowMs: number, now: Clock, clear: (slot: number) => void) {
    this.slotMs = windowMs / SLOTS;
    this.#now = now;
    this.#clear = clear;
    this.#since = now();
    this.#current = Math.floor(this.#since / this.slotMs);
  }

  /** The slot of this moment. */
  turn(): number {
    const current = Math.floor(this.#now() / this.slotMs);
    const passed = Math.min(current - this.#current, SLOTS + 1);
    for (let i = 0; i < passed; i++) this.#clear((current - i) % (SLOTS + 1));
    if (passed > 0) this.#current = current;
    return this.#current % (SLOTS + 1);
  }

  /** Milliseconds that the slots cover now; less than the window just after the start. */
  covered(): number {
    const now = this.#now();
    return Math.min(now - this.#since, now - (this.#current - SLOTS) * this.slotMs);
  }
}

/** How many per second, over the last `windowMs` (5 s by default). */
export class RateWindow {
  readonly #counts = new Float64Array(SLOTS + 1);
  readonly #ring: SlotRing;

  constructor(windowMs: number = DEFAULT_WINDOW_MS, now: Clock = monotonic) {
    this.#ring = new SlotRing(windowMs, now, (slot) => {
      this.#counts[slot] = 0;
    });
  }

  add(count = 1): void {
    const slot = this.#ring.turn();
    this.#counts[slot] = this.#counts[slot]! + count;
  }

  perSecond(): number {
    this.#ring.turn();
    let sum = 0;
    for (const count of this.#counts) sum += count;
    // A rate over less than one slot would be noise.
    return (sum * 1000) / Math.max(this.#ring.covered(), this.#ring.slotMs);
  }
}

// Buckets grow by 2 %, from 1 µs to 1000 s: 1047 of them for values in milliseconds.
const SMALLEST = 0.001;
const GROWTH = Math.log(1.02);
const BUCKETS = Math.ceil(Math.log(1_000_000 / SMALLEST) / GROWTH) + 1;

/**
 * p50, p99 and maximum of the values recorded in the last `windowMs` (5 s by default). Quantiles are right to 1 %, the
 * maximum is exact. Takes 46 KB, however many values come.
 */
export class RollingQuantiles {
  readonly #counts = new Uint32Array((SLOTS + 1) * BUCKETS);
  readonly #max = new Float64Array(SLOTS + 1);
  readonly #ring: SlotRing;

  constructor(windowMs: number = DEFAULT_WINDOW_MS, now: Clock = monotonic) {
    this.#ring = new SlotRing(windowMs, now, (slot) => {
      this.#counts.fill(0, slot * BUCKETS, (slot + 1) * BUCKETS);
      this.#max[slot] = 0;
    });
  }

  /**
   * `value` in any unit, between 0.001 and 1,000,000 of it; milliseconds as a rule. Anything that is no number is left
   * out.
   */
  record(value: number): void {
    if (!(value >= 0)) return;
    const slot = this.#ring.turn();
    const bucket = value <= SMALLEST ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log(value / SMALLEST) / GROWTH));
    const at = slot * BUCKETS + bucket;
    this.#counts[at] = this.#counts[at]! + 1;
    if (value > this.#max[slot]!) this.#max[slot] = value;
  }

  /** All 0 when nothing was recorded; `count` says so. */
  quantiles(): Quantiles {
    this.#ring.turn();
    const sums = new Float64Array(BUCKETS);
    let total = 0;
    for (let i = 0; i < this.#counts.length; i++) {
      const count = this.#counts[i]!;
      if (count === 0) continue;
      total += count;
      sums[i % BUCKETS] = sums[i % BUCKETS]! + count;
    }
    if (total === 0) return { count: 0, p50: 0, p99: 0, max: 0 };
    const max = Math.max(...this.#max);
    return { count: total, p50: quantile(sums, total, 0.5, max), p99: quantile(sums, total, 0.99, max), max };
  }
}

function quantile(sums: Float64Array, total: number, share: number, max: number): number {
  const rank = Math.ceil(total * share);
  let seen = 0;
  for (let bucket = 0; bucket < sums.length; bucket++) {
    seen += sums[bucket]!;
    if (seen < rank) continue;
    // The middle of the bucket, which is at most 1 % away from any value in it.
    const middle = bucket === 0 ? SMALLEST : SMALLEST * Math.exp((bucket - 0.5) * GROWTH);
    return Math.min(middle, max);
  }
  return max;
}

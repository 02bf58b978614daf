/**
 * How long a run will take, learned for each tenant, package and size of input. Pure; times in milliseconds.
 *
 * A tenant's runs count for its own offloads alone, so that it cannot make another's look unreachable. Sizes are told apart by
 * powers of two.
 *
 * Hot path: two look-ups and one index per offload; quantiles are counted anew only after some runs.
 */

const SMALLEST_MS = 0.02;
const GROWTH = 1.1;
const LOG_GROWTH = Math.log(GROWTH);
/** Up to an hour and a half. */
const BUCKETS = 202;
/** Each run counts so much less than the one that came after it: some 60 of them matter. */
const FADING = 1 - 1 / 64;
const FEW_RUNS = 8;
/** The weight of a guess beside runs that were seen. */
const GUESS_WEIGHT = 0.5;
/** A tail that is longer than its 90 % quantile says is met by a margin on top of it, up to so many times. */
const MAX_MARGIN = 4;
const MARGIN_STEP = 0.15;
/** Useless runs that the margin settles at. */
const USELESS = 0.004;
/** An estimate that keeps everything out is tried so seldom: a run of it takes at most this part of the time. */
const PROBE_SHARE = 1 / 25;
const PROBE_EVERY_MS = 250;
const MAX_TENANTS = 256;
const SIZES = 32;
/** Of a package that declares no cost and has never run. */
const UNKNOWN_MS = 1;

/** Runs of one kind. */
export class RunTime {
  readonly #weights = new Float32Array(BUCKETS);
  #total = 0;
  /** Weight of the next run. */
  #next = 1;
  #count = 0;
  #unread = 0;
  #mean: number;
  #low: number;
  #high: number;
  /** One run in fifty is longer. */
  #top: number;
  #margin = 1;
  #probedAt = Number.NEGATIVE_INFINITY;

  /** @param guess milliseconds, while nothing is known */
  constructor(guess: number) {
    this.#mean = guess;
    this.#low = guess;
    this.#high = guess;
    this.#top = guess;
    this.#add(guess, GUESS_WEIGHT);
  }

  /** Expected; single runs that are far out count as if they were less so. */
  get mean(): number {
    return this.#mean;
  }
  /** One run in ten is shorter. */
  get low(): number {
    this.#read();
    return this.#low;
  }
  /** One run in ten is longer; while only a few have been seen, one in two. */
  get high(): number {
    this.#read();
    return this.#high;
  }
  /** Runs that were seen. */
  get count(): number {
    return this.#count;
  }

  /**
   * Milliseconds that have to be left for a run to be worth its start. So many that hardly any run is in vain, where it was
   * the wait that used up the budget; an offload whose budget is short from the start gets its chance.
   */
  needed(budgetMs: number): number {
    const high = this.high;
    const margin = this.#margin;
    const most = Math.max(this.#top, MAX_MARGIN * high);
    const wanted = margin <= 1 ? high * margin : high + ((most - high) * (margin - 1)) / (MAX_MARGIN - 1);
    return Math.max(this.#low, Math.min(wanted, Math.max(high, 0.8 * budgetMs)));
  }

  learn(ms: number): void {
    if (!(ms >= 0)) return;
    const capped = this.#count < FEW_RUNS ? ms : Math.min(ms, 4 * this.high);
    this.#count++;
    this.#mean += (capped - this.#mean) / Math.min(this.#count, 64);
    this.#next /= FADING;
    this.#add(ms, this.#next);
    this.#unread++;
    if (this.#next > 1e9) this.#rescale(1e-9);
  }

  /** A run ended in time. */
  met(): void {
    this.#margin = Math.max(0.25, this.#margin - (MARGIN_STEP * USELESS) / (1 - USELESS));
  }

  /** A run was in vain: its budget was over before it was. @param hadMs that it had at its start */
  missed(hadMs: number): void {
    this.#margin = Math.min(MAX_MARGIN, this.#margin + MARGIN_STEP);
    // How long it would have taken is not known, but that it is more than this.
    this.learn(Math.max(this.#mean, hadMs * 1.5));
  }

  /** True for the few that are let through although they look too late, because an estimate must not feed itself. */
  mayProbe(budgetMs: number, now: number): boolean {
    if (!this.couldProbe(budgetMs, now)) return false;
    this.#probedAt = now;
    return true;
  }

  /** Only looks. */
  couldProbe(budgetMs: number, now: number): boolean {
    return now - this.#probedAt >= Math.max(PROBE_EVERY_MS, Math.min(this.high, budgetMs) / PROBE_SHARE);
  }

  /** One that was let through so ended in time: what was learned before is worth half of it, and the next may come at once. */
  probed(): void {
    this.#next += this.#total;
    this.#probedAt = Number.NEGATIVE_INFINITY;
    this.#margin = Math.max(1, this.#margin / 2);
  }

  #add(ms: number, weight: number): void {
    const bucket = ms <= SMALLEST_MS ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log(ms / SMALLEST_MS) / LOG_GROWTH));
    this.#weights[bucket]! += weight;
    this.#total += weight;
  }

  #rescale(factor: number): void {
    for (let i = 0; i < BUCKETS; i++) this.#weights[i]! *= factor;
    this.#total *= factor;
    this.#next *= factor;
  }

  #read(): void {
    if (this.#unread === 0 || (this.#count > 64 && this.#unread < 4)) return;
    this.#unread = 0;
    const total = this.#total;
    // The near edge of the low one and the far edges of the others: none says more than is known.
    this.#low = this.#edge(0.1 * total) / GROWTH;
    this.#high = this.#edge((this.#count < FEW_RUNS ? 0.5 : 0.9) * total);
    this.#top = this.#edge(0.98 * total);
  }

  /** Milliseconds that runs of this weight stayed under. */
  #edge(weight: number): number {
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#weights[bucket]!;
      if (seen >= weight) return SMALLEST_MS * GROWTH ** bucket;
    }
    return SMALLEST_MS * GROWTH ** BUCKETS;
  }
}

interface PackageTimes {
  declared: number | undefined;
  /** By tenant, then by size. */
  readonly tenants: Map<string, (RunTime | undefined)[]>;
}

export class RunTimes {
  readonly #packages = new Map<string, PackageTimes>();

  /** Tells what the package itself says, which counts until a run was seen. */
  declare(taskDigest: string, costMs: number): void {
    this.#package(taskDigest).declared = costMs;
  }

  forget(taskDigest: string): void {
    this.#packages.delete(taskDigest);
  }

  of(tenant: string, taskDigest: string, bytes: number): RunTime {
    const times = this.#package(taskDigest);
    let sizes = times.tenants.get(tenant);
    if (sizes === undefined) {
      sizes = [];
      times.tenants.set(tenant, sizes);
      if (times.tenants.size > MAX_TENANTS) {
        const [oldest] = times.tenants.keys();
        times.tenants.delete(oldest!);
      }
    }
    const size = bytes <= 0 ? 0 : SIZES - Math.clz32(bytes);
    let time = sizes[size];
    if (time === undefined) {
      time = new RunTime(guess(times, sizes, size));
      sizes[size] = time;
    }
    return time;
  }

  #package(taskDigest: string): PackageTimes {
    let times = this.#packages.get(taskDigest);
    if (times === undefined) {
      times = { declared: undefined, tenants: new Map() };
      this.#packages.set(taskDigest, times);
    }
    return times;
  }
}

/** The shortest mean of all tenants: one that is too short costs a few runs, one that is too long keeps everything out. */
function guess({ declared, tenants }: PackageTimes, own: readonly (RunTime | undefined)[], size: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (const sizes of tenants.values()) {
    const time = sizes[size];
    if (time !== undefined && time.count > 0 && time.mean < least) least = time.mean;
  }
  if (least < Number.POSITIVE_INFINITY) return least;
  for (let away = 1; away < SIZES; away++) {
    const near = own[size - away] ?? own[size + away];
    if (near !== undefined && near.count > 0) return near.mean;
  }
  return declared ?? UNKNOWN_MS;
}

/** One row of the table, and of `--json`. */
export interface Measurement {
  readonly suite: string;
  readonly name: string;
  /** Of p50, p99 and max: `ms`, `us`, `/s` … */
  readonly unit: string;
  /** How many single measurements the row stands for. */
  readonly n: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  readonly aim?: Aim;
}

export interface Aim {
  /** "at least 8,000" */
  readonly text: string;
  readonly met: boolean;
}

/** A row for what this machine has not: the table is the same everywhere. */
export interface Absent {
  readonly suite: string;
  readonly name: string;
  /** Why nothing was measured. */
  readonly absent: string;
}

export type Row = Measurement | Absent;

/** The value below which a share `q` of the sorted samples lies (nearest rank). */
export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))]!;
}

/** @param samples at least one, in `unit`, in any order */
export function summarise(suite: string, name: string, unit: string, samples: readonly number[]): Measurement {
  if (samples.length === 0) throw new RangeError(`${suite}/${name}: nothing was measured`);
  const sorted = [...samples].sort((a, b) => a - b);
  return {
    suite,
    name,
    unit,
    n: sorted.length,
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99),
    max: sorted.at(-1)!,
  };
}

/** A row of one value. */
export function single(suite: string, name: string, unit: string, value: number, n = 1): Measurement {
  return { suite, name, unit, n, p50: value, p99: value, max: value };
}

/** The row with what its p50 is to be. */
export function atLeast(row: Measurement, least: number): Measurement {
  return { ...row, aim: { text: `at least ${least.toLocaleString('en-US')}`, met: row.p50 >= least } };
}

/** The row with what its p99 is to be. */
export function atMost(row: Measurement, most: number): Measurement {
  return { ...row, aim: { text: `at most ${most.toLocaleString('en-US')}`, met: row.p99 <= most } };
}

/** How many times the median of `over` is the one of `under`. Undefined when one of them was not measured. */
export function ratio(over: Row | undefined, under: Row | undefined, name: string): Measurement | undefined {
  if (over === undefined || under === undefined || 'absent' in over || 'absent' in under) return undefined;
  const value = over.p50 / under.p50;
  return { suite: over.suite, name, unit: 'times (p50)', n: 1, p50: value, p99: value, max: value };
}

/** Calls `once` one after another, `warmup` times unmeasured, and returns milliseconds of each. */
export async function timeEach(n: number, warmup: number, once: (i: number) => Promise<unknown>): Promise<number[]> {
  for (let i = 0; i < warmup; i++) await once(i);
  const samples: number[] = [];
  for (let i = 0; i < n; i++) {
    const begin = performance.now();
    await once(warmup + i);
    samples.push(performance.now() - begin);
  }
  return samples;
}

/** One of several ways to do the same, for `timeInTurns`. */
export interface Way {
  readonly name: string;
  readonly n: number;
  readonly once: () => Promise<unknown>;
}

/** How often a way is called before it is the next one's turn; the first calls of a turn are not counted. */
const TURN = 100;
const TURN_WARMUP = 5;

/**
 * As `timeEach`, for several ways that take turns, so that whatever else the machine does at the time falls on all of
 * them alike. The ways with most calls have turns to the end; the others are done earlier.
 */
export async function timeInTurns(ways: readonly Way[]): Promise<number[][]> {
  const samples: number[][] = ways.map(() => []);
  // One turn of everything is for warming up.
  for (const { n, once } of ways) await timeEach(0, Math.min(TURN, Math.ceil(n / 10)), once);
  for (let more = true; more; ) {
    more = false;
    for (const [i, { n, once }] of ways.entries()) {
      const left = n - samples[i]!.length;
      if (left <= 0) continue;
      more = true;
      const turn = Math.min(left, TURN);
      samples[i]!.push(...(await timeEach(turn, Math.min(TURN_WARMUP, turn), once)));
    }
  }
  return samples;
}

/** Keeps `concurrency` calls open for `ms` milliseconds; returns calls completed per second. */
export async function saturate(ms: number, concurrency: number, once: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  const end = begin + ms;
  let done = 0;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (performance.now() < end) {
        await once();
        done++;
      }
    }),
  );
  return (done * 1000) / (performance.now() - begin);
}

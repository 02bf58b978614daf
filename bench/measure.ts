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
}

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

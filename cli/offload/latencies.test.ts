import { expect, test } from 'vitest';
import { Latencies } from './latencies.ts';

test('quantiles are right to a percent, from microseconds to an hour', () => {
  const latencies = new Latencies();
  for (let i = 1; i <= 1000; i++) latencies.add(i / 10);
  const { count, p50, p90, p99, max } = latencies.summary();
  expect({ count, max }).toEqual({ count: 1000, max: 100 });
  expect(Math.abs(p50 / 50 - 1)).toBeLessThan(0.011);
  expect(Math.abs(p90 / 90 - 1)).toBeLessThan(0.011);
  expect(Math.abs(p99 / 99 - 1)).toBeLessThan(0.011);
  for (const [value, least, most] of [
    [3_600_000, 3_560_000, 3_600_000],
    [0, 0, 0],
    [1e12, 0, 1e12],
  ] as const) {
    const one = new Latencies();
    one.add(value);
    expect(one.summary().p99).toBeGreaterThanOrEqual(least);
    expect(one.summary().p99).toBeLessThanOrEqual(most);
  }
});

test('nothing is all zero', () => {
  expect(new Latencies().summary()).toEqual({ count: 0, p50: 0, p90: 0, p99: 0, max: 0 });
});

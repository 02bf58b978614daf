import { describe, expect, test } from 'vitest';
import { RateWindow, RollingQuantiles } from './rolling.ts';

function clock(start = 123_456.7) {
  let now = start;
  return { now: () => now, pass: (ms: number) => (now += ms) };
}

describe('RateWindow', () => {
  test('a steady stream has its own rate, from the first seconds on', () => {
    const time = clock();
    const rate = new RateWindow(5000, time.now);
    for (let i = 0; i < 40; i++) {
      rate.add();
      time.pass(50);
    }
    expect(rate.perSecond()).toBeCloseTo(20, 0);
    for (let i = 0; i < 400; i++) {
      rate.add();
      time.pass(50);
    }
    expect(rate.perSecond()).toBeCloseTo(20, 0);
  });

  test('what is older than the window does not count', () => {
    const time = clock();
    const rate = new RateWindow(5000, time.now);
    rate.add(1000);
    time.pass(5600);
    expect(rate.perSecond()).toBe(0);
    time.pass(1_000_000);
    rate.add(5);
    expect(rate.perSecond()).toBeLessThanOrEqual(1.2);
    expect(rate.perSecond()).toBeGreaterThan(0.8);
  });
});

describe('RollingQuantiles', () => {
  test('nothing recorded is all zeros', () => {
    expect(new RollingQuantiles().quantiles()).toEqual({ count: 0, p50: 0, p99: 0, max: 0 });
  });

  test('quantiles are right to one per cent and the maximum is exact', () => {
    const time = clock();
    const rolling = new RollingQuantiles(5000, time.now);
    for (let i = 1; i <= 1000; i++) rolling.record(i / 10);
    const { p50, p99, max } = rolling.quantiles();
    expect(Math.abs(p50 / 50 - 1)).toBeLessThan(0.011);
    expect(Math.abs(p99 / 99 - 1)).toBeLessThan(0.011);
    expect(max).toBe(100);
  });

  test('an old peak is forgotten, a young one is not', () => {
    const time = clock();
    const rolling = new RollingQuantiles(5000, time.now);
    rolling.record(900);
    time.pass(3000);
    rolling.record(1);
    expect(rolling.quantiles().max).toBe(900);
    time.pass(2600);
    expect(rolling.quantiles().max).toBe(1);
  });

  test('values outside the range are kept at its ends, and no number is left out', () => {
    const rolling = new RollingQuantiles();
    rolling.record(Number.NaN);
    rolling.record(-1);
    expect(rolling.quantiles().max).toBe(0);
    rolling.record(0);
    rolling.record(5e9);
    expect(rolling.quantiles().max).toBe(5e9);
    expect(rolling.quantiles().p50).toBe(0.001);
  });
});

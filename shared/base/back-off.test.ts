import { expect, it } from 'vitest';
import { backOffMs } from './back-off.ts';

it('waits twice as long after each further failure, up to the longest wait', () => {
  const backOff = { firstMs: 500, longestMs: 5000 };
  expect([0, 1, 2, 3, 4, 5, 6].map((failures) => backOffMs(failures, backOff))).toEqual([
    0, 500, 1000, 2000, 4000, 5000, 5000,
  ]);
});

it.each([100, 1e6, Number.MAX_SAFE_INTEGER])('is the longest wait after %d failures', (failures) => {
  expect(backOffMs(failures, { firstMs: 500, longestMs: 5000 })).toBe(5000);
});

it('does not wait after what is no number of failures', () => {
  expect(backOffMs(-1, { firstMs: 500, longestMs: 5000 })).toBe(0);
});

import { expect, it } from 'vitest';
import { RecentQuantile } from './recent-quantile.ts';

function of(share: number, samples: readonly number[]): number | undefined {
  const quantile = new RecentQuantile(share);
  for (const sample of samples) quantile.add(sample);
  return quantile.value;
}

it('says nothing from fewer than five samples', () => {
  expect(of(0.9, [])).toBeUndefined();
  expect(of(0.9, [1, 2, 3, 4])).toBeUndefined();
  expect(of(0.9, [1, 2, 3, 4, 5])).toBe(5);
});
it('is the quantile whatever the order, by number and not by text', () => {
  const ten = [100, 9, 30, 1, 20, 5, 1000, 2, 3, 4];
  expect([of(0.9, ten), of(0.1, ten), of(0.5, ten)]).toEqual([1000, 2, 9]);
  expect([of(0, ten), of(1, ten)]).toEqual([1, 1000]);
});
it('forgets what is older than sixteen samples', () => {
  const slow = Array.from({ length: 16 }, () => 500);
  const quick = Array.from({ length: 16 }, () => 1);
  expect(of(0.9, [...slow, ...quick.slice(2)])).toBe(500);
  expect(of(0.9, [...slow, ...quick])).toBe(1);
  expect(of(0.9, [...Array.from({ length: 10_000 }, (_, i) => i)])).toBe(9998);
});
it.each([Number.NaN, -1, -0.001, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, undefined as unknown as number])(
  'leaves out %s, which a peer may have sent',
  (bad) => {
    expect(
      of(
        0.9,
        Array.from({ length: 50 }, () => bad),
      ),
    ).toBeUndefined();
    expect(of(0.9, [1, bad, 2, bad, 3, 4])).toBeUndefined();
    expect(of(0.9, [1, bad, 2, bad, 3, 4, 5])).toBe(5);
  },
);
it('0 is a sample', () => expect(of(0.9, [0, 0, 0, 0, 0])).toBe(0));

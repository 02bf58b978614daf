import { describe, expect, it } from 'vitest';
import { quantile, ratio, saturate, summarise, timeEach, timeInTurns } from './measure.ts';

describe('quantile', () => {
  const sorted = Array.from({ length: 100 }, (_, i) => i + 1);
  it.each([
    [0, 1],
    [0.5, 50],
    [0.99, 99],
    [1, 100],
  ])('%d of 1..100 is %d', (q, value) => expect(quantile(sorted, q)).toBe(value));
  it('of one sample is that sample', () => expect(quantile([7], 0.99)).toBe(7));
});

it('summarise sorts by value, not by text, and refuses an empty run', () => {
  expect(summarise('s', 'n', 'ms', [10, 9, 100])).toEqual({
    suite: 's',
    name: 'n',
    unit: 'ms',
    n: 3,
    p50: 10,
    p99: 100,
    max: 100,
  });
  expect(() => summarise('s', 'n', 'ms', [])).toThrow(RangeError);
});

it('timeEach leaves out the warm-up', async () => {
  const seen: number[] = [];
  expect(await timeEach(3, 2, async (i) => seen.push(i))).toHaveLength(3);
  expect(seen).toEqual([0, 1, 2, 3, 4]);
});

it('timeInTurns gives every way its turns, until each has had its number of calls', async () => {
  const order: string[] = [];
  const way = (name: string, n: number) => ({ name, n, once: async () => order.push(name) });
  const samples = await timeInTurns([way('a', 250), way('b', 3)]);
  expect(samples.map(({ length }) => length)).toEqual([250, 3]);
  // Warming up, then turns of a hundred with five more in front; a way that is done has no turn any more.
  const turns = order
    .join('')
    .match(/a+|b+/g)
    ?.map((turn) => turn.length);
  expect(turns).toEqual([25, 1, 105, 6, 105 + 55]);
});

it('ratio compares medians, and only what was measured', () => {
  const [slow, quick] = [summarise('s', 'slow', 'ms', [8]), summarise('s', 'quick', 'ms', [2])];
  expect(ratio(slow, quick, 'slow / quick')).toMatchObject({ name: 'slow / quick', unit: 'times (p50)', p50: 4 });
  expect(ratio(slow, { suite: 's', name: 'x', absent: 'none' }, 'r')).toBeUndefined();
  expect(ratio(undefined, quick, 'r')).toBeUndefined();
});

it('saturate keeps as many calls open as it was told', async () => {
  let open = 0;
  let most = 0;
  await saturate(20, 4, async () => {
    most = Math.max(most, ++open);
    await new Promise((resolve) => setImmediate(resolve));
    open--;
  });
  expect(most).toBe(4);
});

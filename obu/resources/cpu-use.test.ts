import { expect, it } from 'vitest';
import { CpuUse } from './cpu-use.ts';

it('is the mean of the last ten seconds', () => {
  const seconds: Record<string, number> = { a: 100, b: 7 };
  const use = new CpuUse((container) => seconds[container]);
  const running = new Map([
    ['busy', 'a'],
    ['idle', 'b'],
    ['unknown', 'c'],
  ]);
  expect(use.measure(running, 0)).toEqual(new Map([['busy', 0], ['idle', 0]])); // biome-ignore format: pairs
  seconds.a! += 3;
  expect(use.measure(running, 2000)?.get('busy')).toBe(1.5);
  for (let s = 4; s <= 20; s += 2) use.measure(running, s * 1000);
  expect(use.measure(running, 22_000)?.get('busy')).toBe(0);
  // Another container of the same workload counts from its own beginning.
  seconds.d = 1000;
  expect(use.measure(new Map([['busy', 'd']]), 24_000)?.get('busy')).toBe(0);
});

it('is not known when it is known of nobody who runs', () => {
  const use = new CpuUse(() => undefined);
  expect(use.measure(new Map([['a', 'a']]), 0)).toBeUndefined();
  expect(use.measure(new Map(), 0)).toEqual(new Map());
});

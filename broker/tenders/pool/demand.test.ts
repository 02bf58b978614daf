import { expect, test } from 'vitest';
import { seededRandom } from '../../../shared/base/random.ts';
import { Demand } from './demand.ts';

test('the peak is remembered for one window at least and three at most', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = seededRandom(seed);
    const demand = new Demand(100);
    const noted: { at: number; atOnce: number }[] = [];
    let now = 0;
    for (let i = 0; i < 200; i++) {
      now += Math.floor(random() ** 6 * 400);
      const atOnce = Math.floor(random() * 10);
      noted.push({ at: now, atOnce });
      demand.note(atOnce, now);
      const most = (sinceMs: number) =>
        Math.max(...noted.filter(({ at }) => now - at < sinceMs).map((one) => one.atOnce));
      expect(demand.peak, `seed ${seed}`).toBeGreaterThanOrEqual(most(100));
      expect(demand.peak, `seed ${seed}`).toBeLessThanOrEqual(most(300));
      expect(demand.until).toBeGreaterThan(now);
    }
  }
});

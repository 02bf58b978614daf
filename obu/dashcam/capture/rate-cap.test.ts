import { describe, expect, it } from 'vitest';
import { RateCap } from './rate-cap.ts';

/** How many of these arrivals pass a cap. */
function passed(cap: number, arrivalsMs: readonly number[]): number[] {
  const rateCap = new RateCap(cap);
  return arrivalsMs.filter((ms) => rateCap.take(ms));
}

const every = (ms: number, count: number, jitter = (_: number) => 0) =>
  Array.from({ length: count }, (_, at) => 1000 + at * ms + jitter(at));

describe('RateCap', () => {
  it('lets everything through below the cap', () => {
    expect(passed(30, every(100, 50))).toHaveLength(50);
  });

  it('loses nothing of a camera at the capped rate whose jitter stays within half an interval', () => {
    const jitter = (at: number) => ((at * 7919) % 25) - 12;
    expect(passed(20, every(50, 400, jitter))).toHaveLength(400);
  });

  it.each([
    [30, 10],
    [30, 20],
    [25, 10],
    [15, 7],
    [60, 0.5],
  ])('thins %s a second to %s a second on average', (camera, cap) => {
    const seconds = 40;
    const count = passed(cap, every(1000 / camera, camera * seconds)).length;
    expect(count).toBeLessThanOrEqual(cap * seconds + 2);
    expect(count).toBeGreaterThanOrEqual(cap * seconds - 1);
  });

  it('never lets more than two extra through, however the events come', () => {
    let state = 1;
    const random = () => {
      state = (state * 48_271) % 0x7fff_ffff;
      return state / 0x7fff_ffff;
    };
    let nowMs = 0;
    const arrivals = Array.from({ length: 5000 }, () => {
      nowMs += random() < 0.1 ? random() * 500 : random() * 20;
      return nowMs;
    });
    const through = passed(10, arrivals);
    for (let from = 0; from < through.length; from++) {
      for (let to = from; to < Math.min(through.length, from + 50); to++) {
        expect(to - from + 1).toBeLessThanOrEqual((through[to]! - through[from]!) / 100 + 2);
      }
    }
  });

  it('does not catch up after a gap', () => {
    const burst = Array.from({ length: 100 }, (_, at) => 60_000 + at);
    expect(passed(10, [0, 100, ...burst])).toHaveLength(2 + 2);
  });
});

import { describe, expect, it } from 'vitest';
import { ReplayClock } from './replay-clock.ts';

/** What becomes of these times of a log, in seconds: when each is due, in milliseconds, and the jump in front of it. */
function run(seconds: readonly number[], maxGapMs = 60_000) {
  const clock = new ReplayClock(maxGapMs);
  return seconds.map((at) => {
    const { dueMs, jump } = clock.next(Math.round(at * 1e6));
    return jump === undefined ? dueMs : [dueMs, jump.byUs / 1e6];
  });
}

describe('ReplayClock', () => {
  it('keeps the pauses of the log', () => {
    expect(run([1700000000, 1700000000.25, 1700000001, 1700000061])).toEqual([0, 250, 1000, 61_000]);
  });

  it('goes on at once when the clock goes back, and keeps the pauses after that', () => {
    expect(run([100, 99, 99.01, 100.02])).toEqual([0, [0, -1], 10, 1020]);
    // The time that had passed before the jump is not lost.
    expect(run([100, 102, 50, 50.5])).toEqual([0, 2000, [2000, -52], 2500]);
  });

  it('goes on at once when the clock goes far ahead', () => {
    expect(run([5, 6, 1700000000, 1700000000.5])).toEqual([0, 1000, [1000, 1699999994], 1500]);
    expect(run([0, 1.5, 2.9], 1000)).toEqual([0, [0, 1.5], [0, 1.4]]);
    expect(run([0, 3600], 3_600_000)).toEqual([0, 3_600_000]);
  });

  it('takes frames that are written a little out of order for what they are', () => {
    expect(run([10, 10.05, 10.04, 10.06, 9.99])).toEqual([0, 50, 40, 60, 0]);
    // Steps back that add up are a jump all the same.
    expect(run([10, 9.95, 9.89])).toEqual([0, 0, [0, -0.11]]);
  });
});

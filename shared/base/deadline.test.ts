import { describe, expect, it } from 'vitest';
import { Deadline } from './deadline.ts';

describe('a deadline', () => {
  it('runs from its start, with what is kept for the way back taken off', () => {
    const deadline = new Deadline(100, 1000, 20);
    expect(deadline).toMatchObject({ startedAt: 1000, originalMs: 100, reserveMs: 20, at: 1080 });
    expect(deadline.leftMs(1030)).toBe(50);
    expect(deadline.elapsedMs(1030)).toBe(30);
    expect([1079.9, 1080, 1080.1].map((now) => deadline.isOver(now))).toEqual([false, true, true]);
    expect(deadline.leftMs(1100)).toBe(-20);
  });

  it('leaves the next hop what the way does not take, and never less than half', () => {
    const deadline = new Deadline(100, 0);
    expect(deadline.leftForNextHopMs(0, 0)).toBe(100);
    expect(deadline.leftForNextHopMs(30, 0)).toBe(70);
    expect(deadline.leftForNextHopMs(300, 0)).toBe(50);
    expect(deadline.leftForNextHopMs(30, 90)).toBe(5);
  });

  it('begins now by the monotonic clock', () => {
    const before = performance.now();
    const { startedAt, at } = new Deadline(50);
    expect(startedAt).toBeGreaterThanOrEqual(before);
    expect(startedAt).toBeLessThanOrEqual(performance.now());
    expect(at).toBe(startedAt + 50);
  });

  it('says the budget as it was given', () => {
    const texts = [0.04, 5, 9.97, 59.9712, 4999.98].map((budget) => new Deadline(budget, 0, 1).budgetText);
    expect(texts).toEqual(['0 ms', '5 ms', '10 ms', '60 ms', '5000 ms']);
  });

  it('gives a timer no longer time than it takes', () => {
    expect(new Deadline(50, 0).timerMs(20)).toBe(30);
    expect(new Deadline(Number.MAX_VALUE, 0).timerMs(0)).toBe(2 ** 31 - 1);
    expect(new Deadline(Number.POSITIVE_INFINITY, 0).timerMs(0)).toBe(2 ** 31 - 1);
  });

  it.each([Number.NaN, 0, -0, -1, Number.NEGATIVE_INFINITY])('is over from the start with a budget of %d', (budget) => {
    const deadline = new Deadline(budget, 1000);
    expect(deadline.isOver(1000)).toBe(true);
    expect(deadline.timerMs(1000)).toBe(0);
    expect(deadline.leftMs(1000) > 0).toBe(false);
  });
});

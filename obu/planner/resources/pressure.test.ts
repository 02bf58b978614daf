import { describe, expect, it } from 'vitest';
import { CALM_MS, nextLevel, noPressure, type PressureLevel, STEP_MS } from './pressure.ts';

const step = STEP_MS.memory;
const measure = (before: PressureLevel, percent: number | undefined, nowMs: number, shed = 0) =>
  nextLevel(before, 'memory', percent, 20, shed, nowMs);

describe('the ladder of pressure', () => {
  it('is climbed one rung at a time, and only when the last one had its time', () => {
    const first = measure(noPressure, 20, 1000);
    expect(first.level).toBe(1);
    expect(measure(first, 90, 1000 + step - 1).level).toBe(1);
    const second = measure(first, 90, 1000 + step);
    expect(second.level).toBe(2);
    expect(measure(second, 90, 1000 + 2 * step, 1).level).toBe(3);
  });

  it('is not climbed past what there is to shed', () => {
    const second: PressureLevel = { level: 2, changedMs: 0, calmMs: undefined };
    expect(measure(second, 90, 10 * step, 0).level).toBe(2);
  });

  it('is left one rung at a time, after a calm that lasts', () => {
    let now: PressureLevel = { level: 2, changedMs: 0, calmMs: undefined };
    now = measure(now, 5, 1000);
    expect(now.level).toBe(2);
    expect(measure(now, 5, 1000 + CALM_MS - 1).level).toBe(2);
    const lower = measure(now, 5, 1000 + CALM_MS);
    expect(lower.level).toBe(1);
    expect(measure(lower, 5, 1001 + CALM_MS).level).toBe(1);
    expect(measure(lower, 5, 1000 + 2 * CALM_MS).level).toBe(0);
  });

  it('between calm and pressure stays where it is', () => {
    let now: PressureLevel = { level: 1, changedMs: 0, calmMs: undefined };
    for (let ms = 0; ms < 10 * CALM_MS; ms += 2000) {
      now = measure(now, 15, ms);
      expect(now.level).toBe(1);
    }
    expect(measure(measure(now, 5, 1000), 15, 2000).calmMs).toBeUndefined();
  });

  it('is not there where nothing is measured', () => {
    expect(measure({ level: 3, changedMs: 0, calmMs: 0 }, undefined, 1000)).toEqual(noPressure);
  });
});

import { describe, expect, it } from 'vitest';
import { FineClock } from './clock.ts';

const SYSTEM_MS = 1_700_000_000_000;

describe('FineClock', () => {
  it('tells microseconds apart within one millisecond of the system clock', () => {
    const clock = new FineClock();
    expect(clock.wallUs(500, SYSTEM_MS)).toBe(SYSTEM_MS * 1000);
    expect(clock.wallUs(500.25, SYSTEM_MS)).toBe(SYSTEM_MS * 1000 + 250);
    expect(clock.wallUs(501.75, SYSTEM_MS + 1)).toBe(SYSTEM_MS * 1000 + 1750);
  });

  it('follows the system clock when it is set, forwards and backwards', () => {
    const clock = new FineClock();
    clock.wallUs(500, 1000);
    expect(clock.wallUs(600, SYSTEM_MS)).toBe(SYSTEM_MS * 1000);
    expect(clock.wallUs(700, SYSTEM_MS - 60_000)).toBe((SYSTEM_MS - 60_000) * 1000);
  });

  it('follows a clock that drifts', () => {
    const clock = new FineClock();
    for (let ms = 0; ms < 1000; ms++) {
      const system = SYSTEM_MS + ms * 1.01;
      expect(Math.abs(clock.wallUs(ms, system) / 1000 - system)).toBeLessThanOrEqual(2.001);
    }
  });
});

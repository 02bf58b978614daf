import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Pace } from './pace.ts';

describe('Pace', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('lets a burst through at once, and the rest burst by burst', async () => {
    const pace = new Pace();
    let done = 0;
    for (let i = 0; i < 70; i++) void pace.turn().then(() => done++);
    await vi.advanceTimersByTimeAsync(0);
    expect(done).toBe(32);
    await vi.advanceTimersByTimeAsync(5);
    expect(done).toBe(64);
    await vi.advanceTimersByTimeAsync(5);
    expect(done).toBe(70);
    await vi.advanceTimersByTimeAsync(5);
    expect(vi.getTimerCount()).toBe(0);
  });
});

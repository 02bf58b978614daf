import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { pause, repeat, untilAborted } from './pause.ts';

const LONG_MS = 600_000;

describe('pause', () => {
  it('says that the time is over, and leaves no listener on the signal', async () => {
    const { signal } = new AbortController();
    expect(await pause(1, signal)).toBe(true);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('ends when the signal fires', async () => {
    const stop = new AbortController();
    const pausing = pause(LONG_MS, stop.signal);
    stop.abort();
    expect(await pausing).toBe(false);
  });

  it('does not begin under a signal that has fired', async () => {
    expect(await pause(LONG_MS, AbortSignal.abort())).toBe(false);
  });
});

describe('repeat', () => {
  it('does the task again and again until the signal fires', async () => {
    const stop = new AbortController();
    let count = 0;
    await repeat(1, stop.signal, async () => {
      if (++count === 3) stop.abort();
    });
    expect(count).toBe(3);
  });

  it('does nothing under a signal that has fired', async () => {
    let count = 0;
    await repeat(1, AbortSignal.abort(), () => count++);
    expect(count).toBe(0);
  });

  it('ends with the error of the task', async () => {
    const { signal } = new AbortController();
    const failing = repeat(1, signal, () => Promise.reject(new Error('fault')));
    await expect(failing).rejects.toThrow('fault');
  });
});

describe('untilAborted', () => {
  it('waits for the signal', async () => {
    const stop = new AbortController();
    let hasFired = false;
    const waiting = untilAborted(stop.signal).then(() => {
      hasFired = true;
    });
    await new Promise(setImmediate);
    expect(hasFired).toBe(false);
    stop.abort();
    await waiting;
  });

  it('is done when the signal has fired before', async () => {
    await untilAborted(AbortSignal.abort());
  });
});

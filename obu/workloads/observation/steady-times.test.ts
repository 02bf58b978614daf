import { afterEach, expect, it, vi } from 'vitest';
import { steadyMs, wallOf } from '../../../shared/base/clock.ts';
import { SteadyTimes } from './steady-times.ts';

afterEach(() => vi.restoreAllMocks());

/** Sets the wall clock, and nothing else. */
function jump(ms: number): void {
  const real = performance.timeOrigin;
  vi.spyOn(Date, 'now').mockImplementation(() => Math.round(real + performance.now() + ms));
}
const iso = () => new Date(Date.now()).toISOString();
const YEARS = 30 * 365 * 86_400_000;

it('a run is as long as it was, whichever way the clock is set in the middle of it', () => {
  for (const ms of [YEARS, -YEARS]) {
    const times = new SteadyTimes();
    jump(0);
    const startText = iso();
    const started = times.of('a', 'start', startText);
    expect(Math.abs(started - steadyMs())).toBeLessThan(60_000);
    jump(ms);
    const finished = times.of('a', 'end', iso());
    expect(Math.abs(finished - started)).toBeLessThan(60_000);
    expect(times.of('a', 'start', startText)).toBe(started);
    // For people it is shown by the clock of now.
    expect(Math.abs(wallOf(started) - Date.now())).toBeLessThan(60_000);
  }
});

it('never is never, and a stamp from the future is now', () => {
  const times = new SteadyTimes();
  expect(times.of('a', 'end', '0001-01-01T00:00:00Z')).toBe(0);
  expect(times.of('a', 'start', '2199-01-01T00:00:00Z')).toBeLessThanOrEqual(steadyMs());
});

it('what is gone is forgotten, and a container that starts again has a new time', () => {
  const times = new SteadyTimes();
  const first = times.of('a', 'start', new Date(Date.now() - 50_000).toISOString());
  const second = times.of('a', 'start', new Date(Date.now() - 10_000).toISOString());
  expect(second - first).toBeGreaterThan(30_000);
  times.forget('a');
  expect(times.of('a', 'start', '2001-01-01T00:00:00Z')).toBeLessThan(first);
});

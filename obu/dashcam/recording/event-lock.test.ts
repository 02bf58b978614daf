import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { parseCondition } from '../../../shared/vss/condition.ts';
import type { SignalDatum, SignalSource, SignalValue } from '../../../shared/vss/signal.ts';
import { EventLock } from './event-lock.ts';

let hear: (values: readonly SignalValue[]) => void = () => {};
const signals: SignalSource = {
  paths: () => ['V.Braking', 'V.Speed'],
  get: () => undefined,
  subscribe: (_leaves, listener) => {
    hear = listener;
    return () => {
      hear = () => {};
    };
  },
};
const say = (path: string, value: SignalDatum, stale = false) =>
  hear([{ path, value, timeUs: 0, source: 'can0', stale }]);

const T0 = 1_000_000;
let locks: [from: number, to: number][];
let event: EventLock;
beforeEach(() => {
  vi.useFakeTimers({ now: T0 });
  locks = [];
  const condition = parseCondition('V.Braking == true && V.Speed > 10');
  const window = { beforeMs: 30_000, afterMs: 30_000 };
  event = new EventLock(condition, window, signals, (from, to) => locks.push([from - T0, to - T0]));
  event.start();
});
afterEach(() => {
  event.stop();
  vi.useRealTimers();
});

it('locks what was before, while it lasts, and until its time after it has passed', () => {
  say('V.Braking', true);
  expect(locks).toEqual([]);
  say('V.Speed', 50);
  expect(locks).toEqual([[-30_000, 0]]);
  vi.advanceTimersByTime(7000);
  expect(locks.at(-1)).toEqual([-30_000, 5000]);
  say('V.Speed', 5);
  vi.advanceTimersByTime(60_000);
  expect(locks.at(-1)).toEqual([-30_000, 37_000]);
  const count = locks.length;
  vi.advanceTimersByTime(60_000);
  expect(locks).toHaveLength(count);
  expect(event.events).toBe(1);
});

it('does not hold with a value that is stale', () => {
  say('V.Braking', true);
  say('V.Speed', 50);
  say('V.Speed', 50, true);
  vi.advanceTimersByTime(60_000);
  expect(locks.at(-1)).toEqual([-30_000, 30_000]);
  say('V.Speed', 50);
  expect(event.events).toBe(2);
});

it('begins anew when it holds again before that time has passed', () => {
  say('V.Braking', true);
  say('V.Speed', 50);
  say('V.Speed', 5);
  vi.advanceTimersByTime(10_000);
  say('V.Speed', 50);
  expect(locks.at(-1)).toEqual([-20_000, 10_000]);
  vi.advanceTimersByTime(5000);
  expect(locks.at(-1)).toEqual([-20_000, 15_000]);
  expect(event.events).toBe(2);
});

it('locks nothing more after it was stopped', () => {
  say('V.Braking', true);
  say('V.Speed', 50);
  event.stop();
  vi.advanceTimersByTime(60_000);
  expect(locks).toHaveLength(1);
});

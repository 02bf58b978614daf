import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { SignalInfo, SignalValue } from '../../shared/vss/signal.ts';
import { SignalTree } from './signal-tree.ts';

const info = (path: string): SignalInfo => ({
  path,
  type: 'sensor',
  datatype: 'float',
  unit: '',
  description: '',
  comment: '',
  deprecation: '',
  min: undefined,
  max: undefined,
  allowed: undefined,
});

describe('SignalTree', () => {
  let nowMs: number;
  let tree: SignalTree;
  let got: SignalValue[];

  beforeEach(() => {
    vi.useFakeTimers();
    nowMs = 0;
    tree = new SignalTree({
      now: () => nowMs,
      rankingOf: (path) => (path === 'Vehicle.Speed' ? ['can1', 'can0'] : []),
    });
    got = [];
  });

  afterEach(() => {
    tree.clear();
    vi.useRealTimers();
  });

  const pass = (ms: number) => {
    nowMs += ms;
    vi.advanceTimersByTime(ms);
  };
  const listen = (path: string) => tree.subscribe(new Set([path]), (values) => got.push(...values));
  const slot = (path: string, source: string, ttlMs: number, onChange = false) =>
    tree.addSlot(tree.addLeaf(info(path)), { source, ttlMs, onChange, isProvided: false });
  const say = (to: ReturnType<typeof slot>, value: number) => {
    const changed = tree.update(to, value, 1, nowMs);
    if (changed !== undefined) tree.deliverAny([changed]);
  };
  const seen = () => got.map(({ value, source, stale }) => `${value} ${source}${stale ? ' stale' : ''}`);

  it('lets a value turn stale after its time to live, and says so to those who subscribed', () => {
    const can0 = slot('Vehicle.A', 'can0', 500);
    listen('Vehicle.A');
    say(can0, 1);
    pass(300);
    say(can0, 2);
    pass(499);
    expect(seen()).toEqual(['1 can0', '2 can0']);
    expect(tree.count()).toEqual({ withValue: 1, stale: 0 });
    pass(20);
    expect(seen()).toEqual(['1 can0', '2 can0', '2 can0 stale']);
    expect(tree.get('Vehicle.A')).toMatchObject({ value: 2, stale: true });
    expect(tree.count()).toEqual({ withValue: 1, stale: 1 });
    pass(5000);
    say(can0, 2);
    expect(seen().at(-1)).toBe('2 can0');
    expect(tree.get('Vehicle.A')).toMatchObject({ stale: false });
  });

  it('prefers the source that ranks higher while it is fresh, and goes back to it', () => {
    const can0 = slot('Vehicle.Speed', 'can0', 500);
    const can1 = slot('Vehicle.Speed', 'can1', 200);
    const other = slot('Vehicle.Speed', 'app', 0);
    listen('Vehicle.Speed');
    say(other, 30);
    say(can0, 10);
    say(can1, 20);
    say(can0, 11);
    say(other, 31);
    expect(seen()).toEqual(['30 app', '10 can0', '20 can1']);
    pass(210);
    // can1 has been silent: the last value of can0 takes its place at once.
    expect(seen().at(-1)).toBe('11 can0');
    pass(300);
    expect(seen().at(-1)).toBe('31 app');
    say(can1, 21);
    expect(seen().at(-1)).toBe('21 can1');
    expect(got.some(({ stale }) => stale)).toBe(false);
  });

  it('ranks sources that the configuration does not name in the order in which they came', () => {
    const first = slot('Vehicle.B', 'can0', 100);
    const second = slot('Vehicle.B', 'can0', 100);
    listen('Vehicle.B');
    say(second, 2);
    say(first, 1);
    say(second, 2);
    expect(seen()).toEqual(['2 can0', '1 can0']);
  });

  it('says only once that all sources of a path are stale', () => {
    const one = slot('Vehicle.B', 'can0', 100);
    const two = slot('Vehicle.B', 'can1', 100);
    listen('Vehicle.B');
    say(one, 1);
    say(two, 2);
    pass(200);
    expect(seen().filter((line) => line.includes('stale'))).toHaveLength(1);
    expect(tree.get('Vehicle.B')?.stale).toBe(true);
  });

  it('keeps a source without a time to live until it is ended', () => {
    const app = slot('Vehicle.C', 'app', 0);
    listen('Vehicle.C');
    say(app, 1);
    pass(10_000_000);
    expect(tree.get('Vehicle.C')?.stale).toBe(false);
    tree.end(app);
    tree.end(app);
    expect(seen()).toEqual(['1 app', '1 app stale']);
  });

  it('delivers on change what changed, what was stale, and what comes from another source', () => {
    const can0 = slot('Vehicle.Speed', 'can0', 100, true);
    const can1 = slot('Vehicle.Speed', 'can1', 100, true);
    listen('Vehicle.Speed');
    say(can0, 1);
    say(can0, 1);
    pass(200);
    say(can0, 1);
    say(can1, 1);
    expect(seen()).toEqual(['1 can0', '1 can0 stale', '1 can0', '1 can1']);
    say(can1, 1);
    pass(60);
    expect(tree.get('Vehicle.Speed')?.stale).toBe(false);
  });

  it('stops delivering to who has left, also while it delivers', () => {
    const can0 = slot('Vehicle.A', 'can0', 0);
    const ends: (() => void)[] = [];
    ends.push(tree.subscribe(new Set(['Vehicle.A']), () => ends[1]!()));
    ends.push(listen('Vehicle.A'));
    say(can0, 1);
    expect(got).toEqual([]);
  });

  it('knows what it has not', () => {
    expect(() => tree.leaf('Vehicle.No')).toThrow(expect.objectContaining({ code: ErrorCode.UnknownSignal }));
    expect(tree.get('Vehicle.No')).toBeUndefined();
    expect(tree.info('Vehicle.No')).toBeUndefined();
  });
});

import { describe, expect, test, vi } from 'vitest';
import { type KeptItem, type KeptLimits, KeptSet, type KeptTotals } from './kept-set.ts';

const start = performance.now();
const MANY = { count: 1000, memory: 1000, disk: 1000 };

function scene(limits: Record<string, KeptLimits>, totals: Partial<KeptTotals> = {}) {
  const dropped: string[] = [];
  const set = new KeptSet<KeptItem>({
    limitsOf: (owner) => limits[owner] ?? { count: 100, bytes: 1000 },
    totals: { ...MANY, ...totals },
    onDropped: (item, why) => dropped.push(`${item.key} ${why}`),
  });
  let at = 0;
  const add = (owner: string, key: string, bytes: number, more: { onDisk?: boolean; keepMs?: number } = {}) => {
    const { onDisk = false, keepMs = 60_000 } = more;
    at++;
    const item = { key, owner, bytes, keptAt: start + at, expiresAt: start + at + keepMs, onDisk };
    return { item, added: set.add(item, start + at) };
  };
  const has = (...keys: string[]) => keys.filter((key) => set.get(key, start + at) !== undefined);
  return { set, add, has, dropped };
}

describe('limits of an owner', () => {
  test('take its oldest, wherever that is, and nothing of others', () => {
    const { add, has, dropped } = scene({ acme: { count: 3, bytes: 100 } });
    add('other', 'o', 10);
    add('acme', 'a', 10, { onDisk: true });
    add('acme', 'b', 10);
    add('acme', 'c', 10, { onDisk: true });
    expect(dropped).toEqual([]);
    add('acme', 'd', 10);
    add('acme', 'e', 10);
    expect(dropped).toEqual(['a evicted', 'b evicted']);
    expect(has('o', 'a', 'b', 'c', 'd', 'e')).toEqual(['o', 'c', 'd', 'e']);
    add('acme', 'f', 90);
    expect(has('o', 'c', 'd', 'e', 'f')).toEqual(['o', 'e', 'f']);
  });

  test('refuse what never fits, and then nothing has changed', () => {
    const { add, set, dropped } = scene({ acme: { count: 3, bytes: 100 }, none: { count: 0, bytes: 100 } });
    add('acme', 'a', 100);
    expect(add('acme', 'huge', 101).added).toBe(false);
    expect(add('none', 'n', 1).added).toBe(false);
    expect(dropped).toEqual([]);
    expect(set).toMatchObject({ count: 1, memoryBytes: 100, owners: 1 });
  });
});

describe('limits of all', () => {
  test('take the oldest of the owner who keeps most', () => {
    const { add, has, set } = scene({}, { memory: 100 });
    add('small', 's1', 10);
    for (let i = 0; i < 20; i++) add('flood', `f${i}`, 10);
    expect(has('s1', 'f10', 'f11', 'f19')).toEqual(['s1', 'f11', 'f19']);
    expect(set.memoryBytes).toBe(100);
  });

  test('hold for memory and disk apart', () => {
    const { add, has, set } = scene({}, { memory: 20, disk: 30 });
    add('acme', 'd1', 15, { onDisk: true });
    add('acme', 'm1', 15);
    add('acme', 'd2', 15, { onDisk: true });
    expect(has('d1', 'm1', 'd2')).toHaveLength(3);
    add('acme', 'd3', 15, { onDisk: true });
    add('acme', 'm2', 15);
    expect(has('d1', 'm1', 'd2', 'd3', 'm2')).toEqual(['d2', 'd3', 'm2']);
    expect(set).toMatchObject({ memoryBytes: 15, diskBytes: 30 });
  });

  test('hold for their number', () => {
    const { add, has } = scene({}, { count: 3 });
    add('small', 's', 1);
    for (let i = 0; i < 5; i++) add('flood', `f${i}`, 0, { onDisk: i % 2 === 0 });
    expect(has('s', 'f0', 'f1', 'f2', 'f3', 'f4')).toHaveLength(3);
    expect(has('s')).toEqual(['s']);
  });
});

test('what moves to the disk counts there', () => {
  const { add, set, has } = scene({}, { memory: 20, disk: 30 });
  const { item } = add('acme', 'a', 20);
  set.moveToDisk(item);
  expect(set).toMatchObject({ memoryBytes: 0, diskBytes: 20 });
  add('acme', 'b', 20);
  expect(has('a', 'b')).toEqual(['a', 'b']);
  set.delete(item);
  set.moveToDisk(item);
  expect(set).toMatchObject({ count: 1, memoryBytes: 20, diskBytes: 0 });
});

test('each item has its own time, and goes by itself', async () => {
  const { add, set, dropped } = scene({});
  add('acme', 'short', 10, { keepMs: 5 });
  add('acme', 'long', 10, { keepMs: 3_600_000 });
  expect(set.get('short', start + 1000)).toBeUndefined();
  expect(set.get('long', start + 1000)).toBeDefined();
  expect(dropped).toEqual(['short expired']);
  const now = performance.now();
  set.add({ key: 'soon', owner: 'acme', bytes: 1, keptAt: now, expiresAt: now + 1, onDisk: true }, now);
  await vi.waitUntil(() => set.count === 1, { timeout: 10_000 });
  expect(set.diskBytes).toBe(0);
  set.clear();
  expect(set).toMatchObject({ count: 0, memoryBytes: 0, owners: 0 });
});

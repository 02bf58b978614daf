import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { DamagedError, InUseError } from '../storage/database-file.ts';
import { PLAIN } from '../storage/seal.ts';
import { StateDatabase } from './state-database.ts';
import { StateStore } from './state-store.ts';
import type { StateChange, StateReply } from './state-types.ts';

const root = mkdtempSync(join(tmpdir(), 'kerb-state-db-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let made = 0;
const fresh = () => join(root, `d${made++}`);
const limits = { keys: 3, bytes: 4000, ttlMs: 60_000 };
const key = { tenant: 'ACME', task: 't', vehicle: 'v', key: 'k' };
const set = (text: string, ttlMs = 60_000): StateChange => ({ action: 'set', value: Buffer.from(text), ttlMs });

function scene(folder = fresh(), maxBytes = 1e6) {
  const clock = { now: 1_000_000 };
  const database = new StateDatabase(folder, maxBytes, PLAIN, () => clock.now);
  database.open();
  const one = (request: Parameters<typeof database.apply>[0][number]) => database.apply([request])[0]!;
  const commit = (
    change: StateChange,
    expected?: number,
    more: { name?: string; id?: string; tenant?: string } = {},
  ) => {
    const { name = 'k', id, tenant = 'ACME' } = more;
    const asker = { tenant, vehicle: 'v', id: id ?? '', request: Buffer.from('r') };
    const applied =
      id === undefined ? undefined : { asker, output: Buffer.from(`out ${id}`), facts: '{}', keepMs: 5000 };
    return one({
      kind: 'commit',
      key: { ...key, tenant, key: name },
      expected,
      change,
      applied,
      limits,
      askerLimits: limits,
    });
  };
  const read = () => one({ kind: 'read', key, asker: undefined }) as Extract<StateReply, { kind: 'value' }>;
  const text = () => (read().value === undefined ? undefined : Buffer.from(read().value!).toString());
  return { database, folder, clock, one, commit, read, text };
}

describe('a value', () => {
  test('is changed only from the version that it was made from', () => {
    const { commit, read, text } = scene();
    expect(read()).toEqual({ kind: 'value', version: 0, value: undefined, expiresInMs: 0 });
    expect(commit(set('1'), 0)).toEqual({ kind: 'written', version: 1 });
    expect(commit(set('2'), 0)).toMatchObject({ kind: 'conflict', version: 1 });
    expect(commit(set('2'), 1)).toEqual({ kind: 'written', version: 2 });
    expect(commit({ action: 'delete' }, 1)).toMatchObject({ kind: 'conflict', version: 2 });
    expect(commit({ action: 'keep' }, 2)).toEqual({ kind: 'written', version: 2 });
    expect(commit({ action: 'delete' }, 2)).toEqual({ kind: 'written', version: 0 });
    // One that was removed and made again is another one.
    commit(set('again'));
    expect(commit(set('late'), 2)).toMatchObject({ kind: 'conflict', version: 3 });
    expect(text()).toBe('again');
  });

  test('goes when it was not written for so long, and counts no more', () => {
    const { clock, commit, read, database } = scene();
    commit(set('1', 1000));
    clock.now += 999;
    expect(read().version).toBe(1);
    clock.now += 1;
    expect(read().version).toBe(0);
    expect(database.use(true).size).toBe(0);
    expect(commit(set('2', 1e9), 0)).toEqual({ kind: 'written', version: 2 });
    clock.now += limits.ttlMs;
    expect(read().version).toBe(0);
  });
});

test('an offload that was applied gets its output again, also when others have written since', () => {
  const { folder, database, clock, commit } = scene();
  commit(set('1'), 0, { id: 'a' });
  commit(set('2'), 1, { id: 'b' });
  commit(set('3'), 2, { id: 'c' });
  database.close();
  const again = scene(folder);
  again.clock.now = clock.now + 4000;
  expect(again.commit(set('x'), 3, { id: 'a' })).toMatchObject({
    kind: 'applied',
    version: 1,
    output: Uint8Array.from(Buffer.from('out a')),
  });
  const asker = { tenant: 'ACME', vehicle: 'v', id: 'b', request: Buffer.from('r') };
  expect(again.one({ kind: 'read', key, asker })).toMatchObject({ kind: 'applied', version: 2 });
  expect(again.one({ kind: 'read', key, asker: { ...asker, request: Buffer.from('s') } })).toEqual({
    kind: 'other-offload',
  });
  expect(again.one({ kind: 'read', key: { ...key, key: 'z' }, asker })).toEqual({ kind: 'other-offload' });
  expect(again.one({ kind: 'read', key, asker: { ...asker, vehicle: 'w' } })).toMatchObject({ kind: 'value' });
  again.clock.now += 1001;
  expect(again.one({ kind: 'read', key, asker })).toMatchObject({ kind: 'value', version: 3 });
  expect(again.text()).toBe('3');
});

test('quotas hold for keys, for bytes with kept outputs, and for all tenants together', () => {
  const { clock, commit, database } = scene(fresh(), 6000);
  for (const name of ['a', 'b', 'c']) commit(set(name, 5000), 0, { name });
  clock.now += 1000;
  expect(commit(set('d'), 0, { name: 'd' })).toEqual({
    ...{ kind: 'quota', tenant: 'ACME', quota: 'state.keys', used: 3, limit: 3, retryAfterMs: 4000 },
  });
  expect(commit(set('a2'), 1, { name: 'a' })).toMatchObject({ kind: 'written' });
  expect(commit(set('x'.repeat(4000)), undefined, { name: 'a' })).toMatchObject({ quota: 'state.bytes', limit: 4000 });
  for (let i = 0; i < 20; i++) commit({ action: 'keep' }, undefined, { name: 'a', id: `o${i}` });
  expect(commit({ action: 'keep' }, undefined, { name: 'a', id: 'last' })).toMatchObject({ quota: 'state.bytes' });
  const before = database.use(true).get('ACME')!;
  expect(before.bytes).toBeLessThanOrEqual(4000);
  expect(commit(set('x'.repeat(3000)), 0, { tenant: 'Other' })).toMatchObject({
    kind: 'quota',
    quota: 'all',
    limit: 6000,
  });
  clock.now += 5000;
  expect(commit(set('d'), 0, { name: 'd' })).toMatchObject({ kind: 'written' });
  // Counted anew it is the same.
  const used = database.use(true);
  database.close();
  database.open();
  expect(database.use(true)).toEqual(used);
});

test('a tenant is forgotten alone', () => {
  const { commit, one, database } = scene();
  commit(set('1'), 0, { id: 'a' });
  commit(set('1'), 0, { id: 'a', tenant: 'Other' });
  expect(one({ kind: 'list', tenant: undefined, limit: 1 })).toMatchObject({
    total: 2,
    rows: [{ tenant: 'ACME', key: 'k' }],
  });
  expect(one({ kind: 'forget', tenant: 'ACME' })).toMatchObject({
    kind: 'forgotten',
    keys: 1,
    outputs: 1,
    isScrubbed: true,
  });
  expect(one({ kind: 'forget', tenant: 'ACME' })).toMatchObject({ keys: 0, outputs: 0, bytes: 0 });
  expect(one({ kind: 'list', tenant: 'ACME', limit: 9 })).toEqual({ kind: 'listed', total: 0, rows: [] });
  expect([...database.use(true).keys()]).toEqual(['Other']);
});

describe('a file', () => {
  test('is held by one, and one that is not ours or not whole is damaged', () => {
    const { folder, database } = scene();
    expect(() => new StateDatabase(folder, 1, PLAIN).open()).toThrow(InUseError);
    database.close();
    writeFileSync(join(folder, 'state.db'), 'this is no database of anybody, and it is long enough');
    expect(() => database.open()).toThrow(DamagedError);
    truncateSync(join(folder, 'state.db'));
    database.open();
    database.close();
  });

  test('that is damaged is put aside, and the store goes on', async () => {
    const { folder, database, commit } = scene();
    commit(set('1'));
    database.close();
    writeFileSync(join(folder, 'state.db'), Buffer.alloc(8192, 'x'));
    const said: string[] = [];
    const store = new StateStore({
      ...{ folder, maxBytes: 1e6, keys: [], onCommit: () => {}, onTrouble: (reason) => said.push(reason) },
      onDamaged: (aside) => said.push(aside),
    });
    await store.start();
    expect(said).toEqual([`${folder}.damaged`]);
    const replies = await Promise.all([
      store.ask({
        kind: 'commit',
        key,
        expected: 0,
        change: set('1'),
        applied: undefined,
        limits,
        askerLimits: limits,
      }),
      store.ask({ kind: 'read', key, asker: undefined }),
    ]);
    expect(replies).toMatchObject([{ kind: 'written' }, { kind: 'value', version: 1 }]);
    expect(store.use.get('ACME')).toMatchObject({ keys: 1 });
    await store.stop();
    expect(await store.ask({ kind: 'read', key, asker: undefined })).toMatchObject({ kind: 'failed' });
  });
});

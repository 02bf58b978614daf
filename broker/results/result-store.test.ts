import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { ResultStore } from './result-store.ts';
import type { StoredRow } from './stored-result.ts';

let root: string;
let folder: string;
const stores: ResultStore[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'kerb-store-'));
  folder = join(root, 'results');
});
afterEach(async () => {
  for (const store of stores.splice(0)) await store.stop();
  rmSync(root, { recursive: true, force: true });
});

async function started() {
  const opened: (readonly StoredRow[])[] = [];
  const troubles: string[] = [];
  const commits: number[] = [];
  const store = new ResultStore({
    folder,
    onOpened: (rows) => opened.push(rows),
    onTrouble: (reason) => troubles.push(reason),
    onCommit: (_ms, results) => commits.push(results),
    log: silentLog(),
  });
  stores.push(store);
  await store.start();
  return { store, opened, troubles, commits };
}

function put(store: ResultStore, key: string, output: Buffer, keepMs = 60_000): Promise<boolean> {
  const row = { key, tenant: 'ACME', task: 'sha256:a', isolation: 'vm', inputSha256: 'x', size: output.length, keepMs };
  const result = { ...row, expiresAt: Date.now() + keepMs, facts: '{}', receipt: undefined, output };
  return new Promise((resolve) => store.put(result, resolve));
}

test('what was put and not removed is there for the next broker; what came together is one commit', async () => {
  const { store, opened, commits } = await started();
  expect(opened).toEqual([[]]);
  const keys = Array.from({ length: 50 }, (_, i) => `k${i}`);
  expect(await Promise.all(keys.map((key) => put(store, key, Buffer.from(key))))).toEqual(keys.map(() => true));
  expect(commits).toEqual([50]);
  store.remove('k7');
  expect(Buffer.from((await store.read('k8', 2))!.output).toString()).toBe('k8');
  // It waits when the broker is stopped: it is written then.
  const last = put(store, 'last', Buffer.alloc(100_000, 1));
  await store.stop();
  expect(await last).toBe(true);
  expect(await store.read('k8', 2)).toBeUndefined();
  expect(store.accepts(1)).toBe(false);

  const next = await started();
  expect(next.opened[0]!.map(({ key }) => key)).toEqual([...keys.filter((key) => key !== 'k7'), 'last']);
});

test('a second one on the same folder is refused', async () => {
  await started();
  await expect(started()).rejects.toMatchObject({ code: ErrorCode.BrokerAlreadyRunning });
});

test('a damaged database is put aside, and new results are kept', async () => {
  await mkdir(folder);
  writeFileSync(join(folder, 'results.db'), 'garbage'.repeat(1000));
  const { store, opened, troubles } = await started();
  expect(opened).toEqual([[]]);
  expect(troubles).toEqual([]);
  expect(readdirSync(root).sort()).toEqual(['results', 'results.damaged']);
  expect(await put(store, 'a', Buffer.from('a'))).toBe(true);
});

test('where nothing can be written, nothing waits for it, and it goes on when it can', async () => {
  const { store, troubles } = await started();
  expect(await put(store, 'first', Buffer.from('a'))).toBe(true);
  // Large outputs have no folder to go to: the file system refuses them.
  await rm(join(folder, 'outputs'), { recursive: true });
  const failed = put(store, 'large', Buffer.alloc(100_000));
  const behind = new Promise<boolean>((resolve) => setImmediate(() => resolve(put(store, 'behind', Buffer.alloc(1)))));
  expect(await failed).toBe(false);
  expect(await behind).toBe(false);
  expect(troubles).toEqual([expect.stringContaining('ENOENT')]);
  expect(store).toMatchObject({ trouble: troubles[0] });
  expect(store.accepts(1)).toBe(false);
  expect((await store.read('first', 1))!.output).toHaveLength(1);
  await mkdir(join(folder, 'outputs'));
  await vi.waitUntil(() => store.trouble === '', { timeout: 30_000 });
  expect(await put(store, 'large', Buffer.alloc(100_000))).toBe(true);
  expect(troubles).toHaveLength(2);
});

test('a folder that cannot be made costs no more than durability', async () => {
  writeFileSync(folder, 'a file');
  const { store, troubles } = await started();
  expect(troubles).toHaveLength(1);
  expect(store.accepts(1)).toBe(false);
  expect(await store.read('a', 1)).toBeUndefined();
});

test('no more waits, or is read, than there is room for', async () => {
  const { store } = await started();
  const mebibyte = 1024 * 1024;
  const large = put(store, 'large', Buffer.alloc(40 * mebibyte));
  expect(store.accepts(24 * mebibyte)).toBe(true);
  expect(store.accepts(24 * mebibyte + 1)).toBe(false);
  expect(await large).toBe(true);
  expect(store.accepts(64 * mebibyte)).toBe(true);
  const read = store.read('large', 40 * mebibyte);
  expect(store.canRead(30 * mebibyte)).toBe(false);
  expect((await read)!.output).toHaveLength(40 * mebibyte);
  expect(store.canRead(30 * mebibyte)).toBe(true);
});

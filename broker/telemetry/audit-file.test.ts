import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { AuditFile, type AuditFileOptions } from './audit-file.ts';

const root = mkdtempSync(join(tmpdir(), 'kerb-audit-'));
afterAll(() => rmSync(root, { recursive: true }));

let path: string;
let file: AuditFile;
let faults: string[];
let made = 0;
beforeEach(() => {
  path = join(root, `audit-${made++}.jsonl`);
  faults = [];
});
afterEach(() => file.stop());

async function start(options: Partial<AuditFileOptions> = {}): Promise<AuditFile> {
  file = new AuditFile({
    ...{ path, maxBytes: 1_000_000, keep: 2, retryMs: 10 },
    lostLine: (count) => `lost ${count}`,
    onFault: (reason) => faults.push(reason),
    ...options,
  });
  await file.start();
  return file;
}
const lines = (of = path) => readFileSync(of, 'utf8').split('\n').slice(0, -1);
const untilWritten = (last: string) => vi.waitUntil(() => lines().at(-1) === last, { timeout: 10_000 });

test('writes lines in their order, for its owner only, also after what was there', async () => {
  writeFileSync(path, 'before\n', { mode: 0o644 });
  await start();
  file.add('one');
  file.add('two');
  await untilWritten('two');
  file.add('three');
  await file.stop();
  expect(lines()).toEqual(['before', 'one', 'two', 'three']);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(file.lost).toBe(0);
});

test('a stop writes all that waits, and takes nothing any more', async () => {
  await start();
  const all = Array.from({ length: 20_000 }, (_, index) => `line ${index}`);
  for (const line of all) file.add(line);
  await file.stop();
  expect(lines()).toEqual(all);
  file.add('late');
  expect(file.lost).toBe(1);
  expect(lines()).toEqual(all);
});

test('is rotated by size, and only so many are kept', async () => {
  await start({ maxBytes: 20 });
  for (const line of ['a'.repeat(15), 'b'.repeat(15), 'c'.repeat(15), 'd'.repeat(15)]) {
    file.add(line);
    await untilWritten(line);
  }
  await file.stop();
  expect([path, `${path}.1`, `${path}.2`].map((one) => lines(one)[0]?.[0])).toEqual(['d', 'c', 'b']);
  expect(existsSync(`${path}.3`)).toBe(false);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('without older ones it begins anew', async () => {
  await start({ maxBytes: 20, keep: 0 });
  file.add('a'.repeat(15));
  await untilWritten('a'.repeat(15));
  file.add('b'.repeat(15));
  await file.stop();
  expect(lines()).toEqual(['b'.repeat(15)]);
  expect(existsSync(`${path}.1`)).toBe(false);
});

test('goes on in a new file when another process has moved it away', async () => {
  await start();
  file.add('one');
  await untilWritten('one');
  renameSync(path, `${path}.old`);
  file.add('two');
  await vi.waitUntil(() => existsSync(path) && lines().length === 1);
  expect([lines(`${path}.old`), lines()]).toEqual([['one'], ['two']]);
});

test.each([
  ['a folder', () => mkdirSync(path)],
  ['a folder that is not there', () => (path = join(root, 'missing', 'audit'))],
  ['a device', () => (path = '/dev/null')],
])('%s cannot be written', async (_what, make) => {
  make();
  await expect(start()).rejects.toMatchObject({
    code: ErrorCode.BadConfig,
    message: expect.stringContaining(path),
  });
});

/** A disk that takes so many bytes more. */
function disk(roomFor: number) {
  const disk = { room: roomFor };
  const openFull = async (name: string): Promise<FileHandle> => {
    const handle = await open(name, 'a', 0o600);
    const write = handle.write.bind(handle) as (data: Buffer) => Promise<{ bytesWritten: number }>;
    handle.write = (async (data: Buffer, at: number) => {
      if (disk.room === 0) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      const part = data.subarray(at, at + disk.room);
      disk.room -= part.length;
      return await write(part);
    }) as FileHandle['write'];
    return handle;
  };
  return { disk, open: openFull };
}

test('what a full disk does not take is written when it has room again, and no line is torn', async () => {
  const full = disk(12);
  await start({ open: full.open });
  file.add('one');
  await untilWritten('one');
  file.add('two, which is long');
  file.add('three');
  await vi.waitUntil(() => faults.length === 1);
  expect(faults[0]).toContain('ENOSPC');
  expect(readFileSync(path, 'utf8')).toBe('one\n');
  full.disk.room = 1_000_000;
  await untilWritten('three');
  expect(lines()).toEqual(['one', 'two, which is long', 'three']);
  await vi.waitUntil(() => faults.length === 2);
  expect(faults[1]).toBe('');
  expect(file.lost).toBe(0);
});

test('what goes beyond the memory for it is counted, and a line says how much', async () => {
  const full = disk(0);
  await start({ open: full.open, maxBytes: 100_000_000 });
  const line = 'x'.repeat(1024 * 1024);
  for (let i = 0; i < 10; i++) file.add(line);
  expect(file.lost).toBe(3);
  full.disk.room = 100_000_000;
  await untilWritten('lost 3');
  expect(lines()).toHaveLength(8);
  expect(file.lost).toBe(3);
});

test('a stop on a full disk ends, and counts what is lost', async () => {
  const full = disk(0);
  await start({ open: full.open });
  file.add('one');
  file.add('two');
  await file.stop();
  expect(file.lost).toBe(2);
  expect(readFileSync(path, 'utf8')).toBe('');
});

import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DamagedError, InUseError } from '../storage/database-file.ts';
import { ResultDatabase } from './result-database.ts';
import type { StoreChange } from './stored-result.ts';

let root: string;
let folder: string;
const open: ResultDatabase[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'kerb-results-'));
  folder = join(root, 'results');
});
afterEach(() => {
  for (const database of open.splice(0)) database.close();
  rmSync(root, { recursive: true, force: true });
});

function opened(at?: number) {
  const database = new ResultDatabase(folder);
  open.push(database);
  return { database, rows: database.open(at) };
}

const NOW = Date.now();
const small = Buffer.from('small');
const large = Buffer.alloc(100_000, 'large');

function put(key: string, output: Buffer, more: { receipt?: Buffer; keepMs?: number } = {}) {
  const { receipt = Buffer.alloc(0), keepMs = 60_000 } = more;
  const inputSha256 = createHash('sha256').update(key).digest('base64');
  const row = { key, tenant: 'ACME', task: 'sha256:a', isolation: 'vm', inputSha256, size: output.length };
  const change = { ...row, keepMs, expiresAt: NOW + keepMs, facts: '{"runMs":1}', receiptBytes: receipt.length };
  return {
    row: { ...row, keepMs, expiresAt: NOW + keepMs },
    change: { put: change } as StoreChange,
    bytes: [receipt, output],
  };
}

function write(database: ResultDatabase, ...changes: (ReturnType<typeof put> | { remove: string })[]): void {
  const bytes = changes.flatMap((one) => ('remove' in one ? [] : one.bytes));
  database.apply(
    changes.map((one) => ('remove' in one ? one : one.change)),
    Buffer.concat(bytes),
  );
}
const outputs = (where = folder) => readdirSync(join(where, 'outputs'));

test('what was written is there after it was opened anew, byte by byte', () => {
  const { database, rows } = opened();
  expect(rows).toEqual([]);
  const results = [put('a', small), put('b', large, { receipt: Buffer.from('receipt') }), put('c', Buffer.alloc(0))];
  write(database, ...results);
  expect(outputs()).toHaveLength(1);
  database.close();

  const again = opened();
  expect(again.rows).toEqual(results.map(({ row }) => row));
  expect(again.database.read('a')).toEqual({ facts: '{"runMs":1}', receipt: undefined, output: new Uint8Array(small) });
  const b = again.database.read('b')!;
  expect(large.equals(b.output)).toBe(true);
  expect(Buffer.from(b.receipt!).toString()).toBe('receipt');
  expect(again.database.read('c')!.output).toHaveLength(0);
  expect(again.database.read('d')).toBeUndefined();
});

test('changes are made in their order, and files go with their rows', () => {
  const { database } = opened();
  write(database, put('a', large), put('b', small), { remove: 'a' }, put('b', large), { remove: 'never there' });
  expect(database.read('a')).toBeUndefined();
  expect(database.read('b')!.output).toHaveLength(large.length);
  expect(outputs()).toHaveLength(1);
  write(database, put('b', small));
  expect(outputs()).toEqual([]);
});

test('a second process, or broker, is kept off', () => {
  opened();
  expect(() => opened()).toThrow(InUseError);
  open[0]!.close();
  expect(opened().rows).toEqual([]);
});

test('time: what has expired is removed, and a clock that was set back keeps nothing for longer', () => {
  const { database } = opened();
  write(database, put('short', large, { keepMs: 1000 }), put('long', small, { keepMs: 60_000 }));
  database.close();
  const later = opened(NOW + 1000);
  expect(later.rows.map(({ key }) => key)).toEqual(['long']);
  expect(outputs()).toEqual([]);
  later.database.close();

  const back = opened(NOW - 3_600_000);
  expect(back.rows.map(({ expiresAt }) => expiresAt)).toEqual([NOW - 3_600_000 + 60_000]);
  back.database.close();
  expect(opened(NOW - 3_600_000 + 60_000).rows).toEqual([]);
});

test('files without rows, rows without files and rows with half a file are removed', () => {
  const { database } = opened();
  write(database, put('a', large));
  write(database, put('b', large));
  write(database, put('c', large));
  const [first, second] = outputs();
  database.close();
  writeFileSync(join(folder, 'outputs', 'orphan'), 'x');
  writeFileSync(join(folder, 'outputs', '.half'), 'x');
  rmSync(join(folder, 'outputs', first!));
  truncateSync(join(folder, 'outputs', second!), 5);
  const { rows } = opened();
  expect(rows).toHaveLength(1);
  expect(outputs()).toHaveLength(1);
});

test('an output that has changed on the disk is not given out', () => {
  const { database } = opened();
  write(database, put('a', large));
  const path = join(folder, 'outputs', outputs()[0]!);
  const bytes = readFileSync(path);
  bytes[5000]! ^= 1;
  writeFileSync(path, bytes);
  expect(() => database.read('a')).toThrow(/not what was written/);
});

test('a write that fails leaves nothing of the batch', () => {
  const { database } = opened();
  write(database, put('a', small));
  rmSync(join(folder, 'outputs'), { recursive: true });
  expect(() => write(database, put('b', small), put('c', large))).toThrow(/ENOENT/);
  expect(database.read('b')).toBeUndefined();
  expect(database.read('a')).toBeDefined();
});

test.each([
  ['garbage', (path: string) => writeFileSync(path, Buffer.alloc(8192, 'garbage '))],
  ['half a file', (path: string) => truncateSync(path, 6000)],
  [
    'a database of another program',
    (path: string) => {
      rmSync(path);
      const other = new DatabaseSync(path);
      other.exec('CREATE TABLE theirs (x)');
      other.close();
    },
  ],
  [
    'one of a later version',
    (path: string) => {
      const other = new DatabaseSync(path);
      other.exec('PRAGMA user_version = 99');
      other.close();
    },
  ],
])('%s is damage, and is put aside whole, in place of what was put aside before', (_what, damage) => {
  const first = opened();
  write(first.database, put('a', large), put('b', small));
  first.database.close();
  damage(join(folder, 'results.db'));
  const { database } = (() => {
    const made = new ResultDatabase(folder);
    open.push(made);
    expect(() => made.open()).toThrow(DamagedError);
    return { database: made };
  })();
  cpSync(folder, `${folder}.damaged`, { recursive: true });
  writeFileSync(join(`${folder}.damaged`, 'older'), '');
  expect(database.moveAside()).toBe(`${folder}.damaged`);
  expect(existsSync(join(`${folder}.damaged`, 'older'))).toBe(false);
  expect(outputs(`${folder}.damaged`)).toHaveLength(1);
  expect(database.open()).toEqual([]);
  write(database, put('a', small));
  expect(database.read('a')).toBeDefined();
});

test('nothing of what was removed is left in the files once they are scrubbed', () => {
  const { database } = opened();
  const secret = Buffer.from('what only ACME may know '.repeat(40));
  write(
    database,
    put('gone', secret, { receipt: Buffer.from('signed for ACME') }),
    put('stays', Buffer.from('this stays')),
  );
  const found = (text: string) =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((one) => one.isFile())
      .some((one) => readFileSync(join(one.parentPath, one.name)).includes(text));
  expect(found('what only ACME')).toBe(true);
  write(database, { remove: 'gone' });
  expect(database.apply([{ scrub: true }], new Uint8Array(0))).toEqual({ isScrubbed: true });
  for (const text of ['what only ACME', 'signed for ACME']) expect(found(text), text).toBe(false);
  expect(Buffer.from(database.read('stays')!.output).toString()).toBe('this stays');
});

test('a file that cannot be removed is tried again before the results count as scrubbed', () => {
  const { database } = opened();
  write(database, put('large', large));
  const [name] = outputs();
  const file = join(folder, 'outputs', name!);
  // A folder with something in it is not removed as a file is, whoever asks.
  rmSync(file);
  mkdirSync(join(file, 'held'), { recursive: true });
  write(database, { remove: 'large' });
  expect(database.apply([{ scrub: true }], new Uint8Array(0))).toEqual({ isScrubbed: false });
  rmdirSync(join(file, 'held'));
  rmdirSync(file);
  expect(database.apply([{ scrub: true }], new Uint8Array(0))).toEqual({ isScrubbed: true });
});

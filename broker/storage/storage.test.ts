import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { ResultDatabase } from '../results/result-database.ts';
import { StateDatabase } from '../state/state-database.ts';
import { PLAIN, sealWith } from './seal.ts';
import { readStorageKeys } from './storage-keys.ts';

const root = mkdtempSync(join(tmpdir(), 'kerb-storage-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let made = 0;
const fresh = () => {
  const dir = join(root, `d${made++}`);
  mkdirSync(dir);
  return dir;
};
const [old, fresher] = [randomBytes(32), randomBytes(32)];

function keyFile(text: string, mode = 0o600): string {
  const path = join(root, `key-${made++}`);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

describe('the file of the storage key', () => {
  test('holds keys in hex or base64, the one in use first, and what was written with it needs it', async () => {
    const dir = fresh();
    expect(readStorageKeys(undefined, dir).keys).toEqual([]);
    const file = keyFile(`# the one in use\n${old.toString('hex')}\n`);
    const first = readStorageKeys(file, dir);
    expect(first.keys).toEqual([old]);
    await first.used();
    expect(() => readStorageKeys(undefined, dir)).toThrow(/is encrypted with key [0-9a-f]{16}; give .* --storage-key/);
    const other = keyFile(fresher.toString('base64'));
    expect(() => readStorageKeys(other, dir)).toThrow(/which is not in .*; add a line with it behind the first/);
    const both = readStorageKeys(keyFile(`${fresher.toString('base64')}\n\n${old.toString('hex')}`), dir);
    expect(both.keys).toEqual([fresher, old]);
    await both.used();
    expect(() => readStorageKeys(file, dir)).toThrow(/which is not in/);
    writeFileSync(join(dir, 'storage-key.json'), 'garbage');
    expect(() => readStorageKeys(file, dir)).toThrow(/storage-key.json is not valid/);
  });

  test.each([
    ['that is missing', () => join(root, 'none'), /cannot be read/],
    ['that is a folder', () => root, /is not a file/],
    [
      'that others can read',
      () => keyFile(old.toString('hex'), 0o644),
      /can be read by others \(mode 644\); do `chmod 600/,
    ],
    ['that is empty', () => keyFile('# nothing\n'), /holds 0 keys/],
    ['with a key that is too short', () => keyFile('abcdef'), /line 1: it is not a valid key/],
    ['with too much', () => keyFile('x'.repeat(70_000)), /has 70000 bytes/],
    ['with too many', () => keyFile(`${old.toString('hex')}\n`.repeat(17)), /holds 17 keys/],
  ])('%s is refused in one line', (_what, file, message) => {
    let said = '';
    try {
      readStorageKeys(file(), fresh());
    } catch (error) {
      said = (error as Error).message;
    }
    expect(said).toMatch(message);
    expect(said).not.toContain('\n');
    expect(said).not.toContain('abcdef');
  });
});

describe('a seal', () => {
  test('opens what it has sealed, in its place and whole, and nothing else', () => {
    const seal = sealWith([old]);
    const text = Buffer.from('secret');
    const sealed = Buffer.from(seal.seal(text, 'a'));
    expect(sealed.includes('secret')).toBe(false);
    expect(seal.seal(text, 'a')).not.toEqual(sealed);
    expect(Buffer.from(seal.open(sealed, 'a'))).toEqual(text);
    expect(() => seal.open(sealed, 'b')).toThrow();
    expect(() => PLAIN.open(sealed, 'a')).toThrow(/encrypted/);
    expect(() => sealWith([fresher]).open(sealed, 'a')).toThrow(/encrypted with key/);
    expect(Buffer.from(sealWith([fresher, old]).open(sealed, 'a'))).toEqual(text);
    for (const at of [20, sealed.length - 1]) {
      const damaged = Buffer.from(sealed);
      damaged[at]! ^= 1;
      expect(() => seal.open(damaged, 'a')).toThrow();
    }
  });

  test('takes no plain text for a sealed one, whatever it looks like', () => {
    const looks = Buffer.from(sealWith([old]).seal(Buffer.from('x'), 'a'));
    for (const text of [looks, Buffer.from('KerbPln1'), Buffer.from(PLAIN.seal(looks, '')), Buffer.alloc(0)]) {
      expect(Buffer.from(PLAIN.open(PLAIN.seal(text, ''), ''))).toEqual(text);
      expect(Buffer.from(sealWith([old]).open(PLAIN.seal(text, ''), ''))).toEqual(text);
    }
  });
});

test('a new key: all is sealed with it at the next start, and nothing of before is left on the disk', () => {
  const folder = fresh();
  const key = { tenant: 'ACME', task: 't', vehicle: 'v', key: 'k' };
  const limits = { keys: 10, bytes: 1e6, ttlMs: 1e6 };
  const value = Buffer.from('a value that nobody reads');
  const row = { key: 'ACME\nv\n1', tenant: 'ACME', task: 't', isolation: 'process', inputSha256: 'x' } as const;
  const outputs = [Buffer.from('an output that nobody reads'), Buffer.alloc(70_000, 'an output in a file ')];
  const results = (keys: Buffer[]) => {
    const database = new ResultDatabase(join(folder, 'results'), sealWith(keys));
    database.open();
    return database;
  };
  const state = (keys: Buffer[]) => {
    const database = new StateDatabase(join(folder, 'state'), 1e9, sealWith(keys));
    database.open();
    return database;
  };
  const plain = { state: state([]), results: results([]) };
  const change = { action: 'set', value, ttlMs: 1e6 } as const;
  const common = { kind: 'commit', key, expected: 0, change, limits, askerLimits: limits } as const;
  expect(plain.state.apply([{ ...common, applied: undefined }])).toEqual([{ kind: 'written', version: 1 }]);
  const expiresAt = Date.now() + 60_000;
  plain.results.apply(
    outputs.map((output, i) => {
      const put = { ...row, key: `${row.key}${i}`, size: output.length, keepMs: 60_000, expiresAt, facts: '{"f":1}' };
      return { put: { ...put, receiptBytes: 0 } };
    }),
    Buffer.concat(outputs),
  );
  plain.state.close();
  plain.results.close();
  const onDisk = () =>
    ['state', 'results', 'results/outputs'].flatMap((dir) =>
      readdirSync(join(folder, dir), { withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map(({ name }) => readFileSync(join(folder, dir, name), 'latin1')),
    );
  const seen = () => onDisk().filter((text) => /that nobody reads|in a file/.test(text)).length;
  expect(seen()).toBeGreaterThan(2);
  for (const keys of [[old], [fresher, old]]) {
    const sealed = { state: state(keys), results: results(keys) };
    const [read] = sealed.state.apply([{ kind: 'read', key, asker: undefined }]);
    expect(read).toMatchObject({ kind: 'value', version: 1 });
    expect(Buffer.from((read as { value: Uint8Array }).value)).toEqual(value);
    for (const [i, output] of outputs.entries()) {
      expect(Buffer.from(sealed.results.read(`${row.key}${i}`)!.output)).toEqual(output);
    }
    sealed.state.close();
    sealed.results.close();
    expect(seen()).toBe(0);
  }
  expect(() => state([old])).toThrow(/which is not there/);
});

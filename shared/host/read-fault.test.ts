import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readInput } from '../../cli/lib/input.ts';
import { loadDbc } from '../dbc/parser/dbc-parser.ts';
import { readVssFile } from '../vss/vss-file.ts';
import { readFault } from './read-fault.ts';

const dir = mkdtempSync(join(tmpdir(), 'kerb-read-fault-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
writeFileSync(join(dir, 'file'), '');
symlinkSync('loop', join(dir, 'loop'));

const cases = [
  ['missing', 'ENOENT', 'no such file'],
  ['.', 'EISDIR', 'directory'],
  ['file/x', 'ENOTDIR', 'not a directory'],
  ['loop', 'ELOOP', 'symbolic links'],
] as const;

it.each(cases)('%s: %s in plain words', async (name, code, words) => {
  const error = await readFile(join(dir, name)).catch((one: unknown) => one);
  expect(readFault(error)).toContain(words);
  expect(readFault(error)).toContain(`(${code})`);
});

it('keeps the sentence of what is no error of a file', () => {
  expect(readFault(new Error('too large'))).toBe('too large');
});

it.each([
  ['a DBC', loadDbc],
  ['a VSS file', readVssFile],
  ['the input of a task', readInput],
])('%s that cannot be read is named once, in plain words', async (_what, read) => {
  for (const [name, code, words] of cases) {
    const path = join(dir, name);
    const { message } = await read(path).then(
      () => ({ message: 'it was read' }),
      (error: Error) => error,
    );
    expect(message).toContain(words);
    expect(message.split(path)).toHaveLength(2);
    expect(message).not.toContain(`${code}:`);
  }
});

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { KeepNewest } from './keep-newest.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-keep-'));
});
afterEach(() => rm(folder, { recursive: true }));

it('keeps the newest files, goes on after a restart and clears up what was cut off', async () => {
  await writeFile(join(folder, 'other.txt'), '');
  const first = new KeepNewest(folder, 'pgm', 2);
  await first.open();
  for (const text of ['a', 'b', 'c']) await first.add(Buffer.from(text));
  await writeFile(join(folder, '00000003.pgm.part'), 'half');

  const second = new KeepNewest(folder, 'pgm', 2);
  await second.open();
  expect(await second.add(Buffer.from('d'))).toBe('00000003.pgm');
  expect((await readdir(folder)).sort()).toEqual(['00000002.pgm', '00000003.pgm', 'other.txt']);
  expect(await readFile(join(folder, '00000003.pgm'), 'utf8')).toBe('d');
});

it('leaves nothing half written when a file cannot be stored', async () => {
  const keep = new KeepNewest(folder, 'pgm', 2);
  await keep.open();
  await mkdir(join(folder, '00000000.pgm')); // in the way of the rename
  await expect(keep.add(Buffer.from('a'))).rejects.toThrow(/EISDIR/);
  expect(await readdir(folder)).toEqual(['00000000.pgm']);
  expect(await keep.add(Buffer.from('b'))).toBe('00000001.pgm');
});

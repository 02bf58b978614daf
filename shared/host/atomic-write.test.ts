import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeFolderAtomically, syncToDisk, writeFileAtomically } from './atomic-write.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-atomic-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('writeFileAtomically', () => {
  it.each([true, false])('makes a file with its mode, and nothing else (durable: %s)', async (durable) => {
    const path = join(folder, 'file');
    await writeFileAtomically(path, 'text', { mode: 0o400, durable });
    expect(await readFile(path, 'utf8')).toBe('text');
    expect((await stat(path)).mode & 0o777).toBe(0o400);
    expect(await readdir(folder)).toEqual(['file']);
  });

  it('replaces a file, its mode too', async () => {
    const path = join(folder, 'file');
    await writeFile(path, 'a longer text that was there before', { mode: 0o644 });
    await writeFileAtomically(path, Uint8Array.of(1, 2, 3), { mode: 0o600 });
    expect([...(await readFile(path))]).toEqual([1, 2, 3]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('leaves what was there, and no temporary file, when it fails', async () => {
    const taken = join(folder, 'taken');
    await mkdir(taken);
    await writeFile(join(taken, 'inside'), 'before');
    await expect(writeFileAtomically(taken, 'text', { mode: 0o600 })).rejects.toMatchObject({ code: 'EISDIR' });
    expect(await readdir(folder)).toEqual(['taken']);
    expect(await readFile(join(taken, 'inside'), 'utf8')).toBe('before');
  });

  it('fails where there is no such folder', async () => {
    const path = join(folder, 'missing', 'file');
    await expect(writeFileAtomically(path, 'text', { mode: 0o600 })).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('gives one whole text when several write at once', async () => {
    const path = join(folder, 'file');
    const texts = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(100_000));
    await Promise.all(texts.map((text) => writeFileAtomically(path, text, { mode: 0o600 })));
    expect(texts).toContain(await readFile(path, 'utf8'));
    expect(await readdir(folder)).toEqual(['file']);
  });
});

describe('makeFolderAtomically', () => {
  const fillWith = (text: string) => async (made: string) => {
    await mkdir(made);
    await writeFile(join(made, 'file'), text);
  };

  it('gives a folder its name when it is filled', async () => {
    const path = join(folder, 'made');
    const made = await makeFolderAtomically(path, async (temporary) => {
      await fillWith('text')(temporary);
      expect(await readdir(folder)).not.toContain('made');
    });
    expect(made).toBe(true);
    expect(await readFile(join(path, 'file'), 'utf8')).toBe('text');
    expect(await readdir(folder)).toEqual(['made']);
  });

  it('keeps the one that somebody else made first', async () => {
    const path = join(folder, 'made');
    await fillWith('first')(path);
    expect(await makeFolderAtomically(path, fillWith('second'))).toBe(false);
    expect(await readFile(join(path, 'file'), 'utf8')).toBe('first');
    expect(await readdir(folder)).toEqual(['made']);
  });

  it('leaves nothing behind when filling fails', async () => {
    const filling = makeFolderAtomically(join(folder, 'made'), async (temporary) => {
      await fillWith('half')(temporary);
      throw new Error('fault');
    });
    await expect(filling).rejects.toThrow('fault');
    expect(await readdir(folder)).toEqual([]);
  });
});

it('syncToDisk takes files and folders, and says when there is nothing', async () => {
  await writeFile(join(folder, 'file'), 'text');
  await syncToDisk(join(folder, 'file'));
  await syncToDisk(folder);
  await expect(syncToDisk(join(folder, 'missing'))).rejects.toMatchObject({ code: 'ENOENT' });
});

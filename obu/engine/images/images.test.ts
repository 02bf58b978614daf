import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import { parseLdd } from '../../images/base-image.ts';
import { contentHash, filesBelow, tarOf } from '../../images/content.ts';
import { baseImages, buildWorkloadImage } from '../../images/workload-image.ts';
import type { Engine } from '../docker-client.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-image-'));
  await mkdir(join(folder, 'sub'));
  await writeFile(join(folder, 'b.txt'), 'b');
  await writeFile(join(folder, 'sub', 'a.sh'), '#!/bin/sh\n', { mode: 0o755 });
  await symlink('b.txt', join(folder, 'link'));
});
afterEach(() => rm(folder, { recursive: true }));

const hashNow = async (salt: string[] = []) => contentHash(await filesBelow(folder), salt);

describe('the content of an image', () => {
  it('is every file, sorted, with links as links and modes reduced to what matters', async () => {
    expect(
      (await filesBelow(folder)).map(({ path, mode, body }) => [path, mode.toString(8), Object.keys(body)[0]]),
    ).toEqual([
      ['b.txt', '644', 'file'],
      ['link', '777', 'link'],
      ['sub/a.sh', '755', 'file'],
    ]);
  });

  it('has the folders that are empty, in its hash and in its tar', async () => {
    const before = await hashNow();
    await mkdir(join(folder, 'sub', 'nothing', 'here'), { recursive: true });
    await mkdir(join(folder, 'a-empty'));
    const files = await filesBelow(folder);
    expect(files.map(({ path }) => path)).toEqual(['a-empty', 'b.txt', 'link', 'sub/a.sh', 'sub/nothing/here']);
    expect(await hashNow()).not.toBe(before);
    const entries: string[] = [];
    const tar = extract();
    tar.on('entry', ({ name, type, mode }, entry, next) => {
      entries.push(`${type} ${name} ${mode!.toString(8)}`);
      entry.on('end', next).resume();
    });
    await pipeline(tarOf(files), tar);
    expect(entries).toEqual([
      ...['directory a-empty 755', 'file b.txt 644', 'symlink link 777', 'file sub/a.sh 755'],
      'directory sub/nothing/here 755',
    ]);
  });

  it('has the same hash when only times are others', async () => {
    const before = await hashNow();
    await utimes(join(folder, 'b.txt'), 1, 1);
    expect(await hashNow()).toBe(before);
  });

  it('has another hash for another byte, name, mode, or base', async () => {
    const hashes = new Set([await hashNow(), await hashNow(['base'])]);
    await writeFile(join(folder, 'b.txt'), 'c');
    hashes.add(await hashNow());
    await writeFile(join(folder, 'c.txt'), '');
    hashes.add(await hashNow());
    expect(hashes.size).toBe(4);
  });

  it('is the same tar each time', async () => {
    const files = await filesBelow(folder);
    const [one, two] = await Promise.all([
      Buffer.concat(await tarOf(files).toArray()),
      Buffer.concat(await tarOf(files).toArray()),
    ]);
    expect(one.length).toBeGreaterThan(1024);
    expect(one.equals(two)).toBe(true);
  });
});

describe('a Dockerfile', () => {
  it('names the images that it builds on, and not its own stages', () => {
    const text =
      'FROM --platform=linux/amd64 builder:1 AS build\nRUN x\nfrom scratch\nCOPY --from=build /a /a\nFROM build\n FROM b:2 as Last';
    expect(baseImages(text)).toEqual(['builder:1', 'b:2']);
  });

  const engine = {
    calls: {
      getImage: () => ({
        inspect: () => Promise.reject(Object.assign(new Error('no such image'), { statusCode: 404 })),
      }),
    },
  } as unknown as Engine;
  const build = () => buildWorkloadImage(engine, folder, 'x:1', () => {});

  it('that is not there is an error that names it', async () => {
    await expect(build()).rejects.toMatchObject({
      code: ErrorCode.ImageBuildFailed,
      message: expect.stringContaining(join(folder, 'Dockerfile')),
    });
  });

  it('with a base that the engine has not is an error that names the base', async () => {
    await writeFile(join(folder, 'Dockerfile'), 'FROM debian:12\n');
    await expect(build()).rejects.toMatchObject({
      code: ErrorCode.ImageMissing,
      message: expect.stringContaining('debian:12'),
    });
  });

  it('with a .dockerignore is refused, since it would not be heeded', async () => {
    await writeFile(join(folder, 'Dockerfile'), 'FROM scratch\n');
    await writeFile(join(folder, '.dockerignore'), '*');
    await expect(build()).rejects.toMatchObject({ message: expect.stringContaining('.dockerignore') });
  });
});

describe('what ldd prints', () => {
  it('becomes the files that are needed, with the loader', () => {
    const printed = [
      '\tlinux-vdso.so.1 (0x00007ff164990000)',
      '\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007ff164898000)',
      '\t/lib64/ld-linux-x86-64.so.2 (0x00007ff164992000)',
    ].join('\n');
    expect(parseLdd(printed)).toEqual(['/lib/x86_64-linux-gnu/libm.so.6', '/lib64/ld-linux-x86-64.so.2']);
  });

  it('is an error when a library is missing', () => {
    expect(() => parseLdd('\tlibx.so.1 => not found')).toThrow(/libx\.so\.1/);
  });
});

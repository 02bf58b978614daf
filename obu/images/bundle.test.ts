import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { IMAGES, INDEX, MANIFEST } from './format.ts';
import { checkBundle, isTar } from './read.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kerb-bundle-'));
  file = join(folder, 'car.tar');
});
afterEach(() => rmSync(folder, { recursive: true }));

const manifest = Buffer.from('services: { a: { image: "a:1" } }\n');
const images = Buffer.alloc(300_000, 'layer');
const partOf = (bytes: Buffer) => ({ sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length });
const index = {
  format: 1,
  architecture: 'amd64',
  file: 'car.yaml',
  images: { 'a:1': 'sha256:1' },
  [MANIFEST]: partOf(manifest),
  [IMAGES]: partOf(images),
};

type Files = readonly (readonly [string, string | Buffer])[];
const whole: Files = [
  [INDEX, JSON.stringify(index)],
  [MANIFEST, manifest],
  [IMAGES, images],
];

async function write(files: Files): Promise<void> {
  const tar = pack();
  for (const [name, body] of files) tar.entry({ name, mtime: new Date(0) }, body);
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  writeFileSync(file, Buffer.concat(chunks));
}

const check = () => checkBundle(file, () => {}, new AbortController().signal);

describe('a bundle', () => {
  it('that is whole gives its manifest', async () => {
    await write(whole);
    expect(await check()).toEqual({ path: file, index, manifest: { file: 'car.yaml', text: manifest.toString() } });
  });

  it('is known by its contents or its name', async () => {
    await write(whole);
    const other = join(folder, 'stick');
    writeFileSync(other, readFileSync(file));
    writeFileSync(join(folder, 'car.yaml'), manifest);
    writeFileSync(join(folder, 'broken.tar'), '');
    const answers = ['stick', 'car.yaml', 'broken.tar'].map((name) => isTar(join(folder, name)));
    expect(await Promise.all(answers)).toEqual([true, false, true]);
  });

  it('that is cut off anywhere is refused', async () => {
    await write(whole);
    // To the last byte that means something: after it come zeros that fill the tar up.
    const end = readFileSync(file).lastIndexOf('layer') + 4;
    for (const size of [0, 100, 511, 512, 700, 1024, 2000, 2600, 50_000, end - 1, end]) {
      await write(whole);
      truncateSync(file, size);
      await expect(check(), `${size} bytes`).rejects.toMatchObject({
        code: ErrorCode.BadBundle,
        message: expect.stringMatching(/^bundle .*car\.tar: .*; nothing of it was applied/),
      });
    }
  });

  it('of which any byte was changed is refused', async () => {
    await write(whole);
    const good = readFileSync(file);
    for (const at of [good.indexOf('services'), good.indexOf('layer'), good.lastIndexOf('layer')]) {
      const bytes = Buffer.from(good);
      bytes[at]! ^= 1;
      writeFileSync(file, bytes);
      await expect(check()).rejects.toThrow(/has been changed: its digest is another/);
    }
  });

  it.each<[string, Files, RegExp]>([
    [
      'the tar of somebody else',
      [['manifest.json', '[]']],
      /it is not a valid bundle: it begins with "manifest\.json"/,
    ],
    ['an index that is no JSON', [[INDEX, 'x'], ...whole.slice(1)], /its kerbside-bundle\.json is not valid JSON/],
    [
      'another format',
      [[INDEX, JSON.stringify({ ...index, format: 2 })], ...whole.slice(1)],
      /cannot be used: format must be 1/,
    ],
    [
      'a key that nobody knows',
      [[INDEX, JSON.stringify({ ...index, run: 'x' })], ...whole.slice(1)],
      /cannot be used: it has `run`/,
    ],
    ['another order', [whole[0]!, whole[2]!, whole[1]!], /manifest\.yaml is missing/],
    ['no images', whole.slice(0, 2), /it is cut off/],
    ['something more', [...whole, ['more', 'x']], /"more" does not belong there/],
    ['another size', [whole[0]!, [MANIFEST, 'x'], whole[2]!], /manifest\.yaml has 1 bytes, and should have 34/],
  ])('with %s is refused', async (_what, files, message) => {
    await write(files);
    await expect(check()).rejects.toThrow(message);
    await expect(check()).rejects.toMatchObject({ code: ErrorCode.BadBundle });
  });

  it('that is no tar at all, or not there, is refused', async () => {
    writeFileSync(file, 'this is no tar '.repeat(1000));
    await expect(check()).rejects.toThrow(/car\.tar: it is not a valid bundle/);
    rmSync(file);
    await expect(check()).rejects.toThrow(/cannot be read: no such file/);
  });

  it('is not read on when it is stopped', async () => {
    await write(whole);
    await expect(checkBundle(file, () => {}, AbortSignal.abort())).rejects.toMatchObject({ code: ErrorCode.Cancelled });
  });
});

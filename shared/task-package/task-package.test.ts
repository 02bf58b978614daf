import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { elfFile, elfNote, fakeImage } from '../../test/support/fake-image.ts';
import { rounds } from '../../test/support/rounds.ts';
import { ErrorCode, type KerbError } from '../base/errors.ts';
import { digestOf } from './format.ts';
import { readImageNotes } from './image-notes.ts';
import { readImage, readTaskPackage } from './reader.ts';
import { buildTaskPackage } from './writer.ts';

let root: string;
let good: string;
let digestOfGood: string;
let next = 0;
const fresh = () => join(root, `p${next++}`);
const image = fakeImage();

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-package-'));
  good = fresh();
  digestOfGood = await buildTaskPackage(good, { images: [image], version: '1.2.0', isolation: 'any' });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function copy(): string {
  const dir = fresh();
  cpSync(good, dir, { recursive: true });
  return dir;
}

const blobPath = (dir: string, digest: string) => join(dir, 'blobs', 'sha256', digest.slice(7));
// biome-ignore lint/suspicious/noExplicitAny: tests break JSON in every way
type Json = any;
const readJson = (path: string): Json => JSON.parse(readFileSync(path, 'utf8'));

/** Changes the parts of a package and makes all digests right again, so that only the content is wrong. */
function forge(
  change: (parts: { index: Json; manifest: Json; config: Json; image: Buffer }) => Buffer | undefined,
): string {
  const dir = copy();
  const index = readJson(join(dir, 'index.json'));
  const manifest = readJson(blobPath(dir, index.manifests[0].digest));
  const config = readJson(blobPath(dir, manifest.config.digest));
  const put = (bytes: Buffer) => {
    writeFileSync(blobPath(dir, digestOf(bytes)), bytes);
    return { digest: digestOf(bytes), size: bytes.length };
  };
  const changed = change({ index, manifest, config, image });
  if (changed !== undefined) {
    Object.assign(manifest.layers[0], put(changed));
    config.images[0].digest = manifest.layers[0].digest;
  }
  Object.assign(manifest.config, put(Buffer.from(JSON.stringify(config))));
  Object.assign(index.manifests[0], put(Buffer.from(JSON.stringify(manifest))));
  writeFileSync(join(dir, 'index.json'), JSON.stringify(index));
  return dir;
}

describe('writing', () => {
  test('the same parts give the same digest and the same bytes', async () => {
    const other = fresh();
    const digest = await buildTaskPackage(other, { images: [Buffer.from(image)], version: '1.2.0', isolation: 'any' });
    expect(digest).toBe((await readTaskPackage(good)).digest);
    expect(readdirSync(other, { recursive: true }).sort()).toEqual(readdirSync(good, { recursive: true }).sort());
    expect(readFileSync(join(other, 'index.json'))).toEqual(readFileSync(join(good, 'index.json')));
  });

  test('another version or image is another package', async () => {
    const digests = new Set([
      (await readTaskPackage(good)).digest,
      await buildTaskPackage(fresh(), { images: [image], version: '1.2.1', isolation: 'any' }),
      await buildTaskPackage(fresh(), { images: [image], version: '1.2.0', isolation: 'vm' }),
      await buildTaskPackage(fresh(), { images: [fakeImage({ filler: 'x' })], version: '1.2.0', isolation: 'any' }),
    ]);
    expect(digests.size).toBe(4);
  });

  test('replaces a package, and nothing else', async () => {
    const dir = copy();
    await buildTaskPackage(dir, { images: [image], version: '2', isolation: 'any' });
    expect((await readTaskPackage(dir)).config.version).toBe('2');
    const precious = fresh();
    mkdirSync(precious);
    writeFileSync(join(precious, 'thesis.tex'), '…');
    await expect(buildTaskPackage(precious, { images: [image], version: '2', isolation: 'any' })).rejects.toThrow(
      /not a task package; choose another/,
    );
    expect(existsSync(join(precious, 'thesis.tex'))).toBe(true);
    expect(readdirSync(root).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  test('needs an image, and only one per architecture', async () => {
    const build = (images: Buffer[]) => buildTaskPackage(fresh(), { images, version: '1', isolation: 'any' });
    await expect(build([])).rejects.toThrow(/at least one image/);
    await expect(build([image, fakeImage({ filler: 'x' })])).rejects.toThrow(/one image per architecture/);
    await expect(build([image, fakeImage({ maxInput: 1 })])).rejects.toThrow(/different values of maxInput/);
    await expect(build([Buffer.from('MZ')])).rejects.toThrow(/not a valid unikernel image/);
  });
});

describe('reading', () => {
  test('a good package', async () => {
    const read = await readTaskPackage(good);
    expect(read.config).toMatchObject({
      name: 'echo',
      version: '1.2.0',
      maxInput: 65_536,
      maxOutput: 65_536,
      isolation: 'any',
    });
    expect(read.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await readImage(read, 'x86_64')).toEqual(image);
  });

  test('a package with an image for each machine gives each its own', async () => {
    const dir = fresh();
    const arm = fakeImage({ machine: 183, target: 2, filler: 'arm' });
    const digest = await buildTaskPackage(dir, { images: [image, arm], version: '1.2.0', isolation: 'any' });
    const read = await readTaskPackage(dir);
    expect(read.images.map(({ architecture }) => architecture)).toEqual(['aarch64', 'x86_64']);
    expect(await readImage(read, 'x86_64')).toEqual(image);
    expect(await readImage(read, 'aarch64')).toEqual(arm);
    // In whatever order they come.
    const other = await buildTaskPackage(fresh(), { images: [arm, image], version: '1.2.0', isolation: 'any' });
    expect(other).toBe(digest);
  });

  test('a cost hint is kept, and is a part of what the digest covers', async () => {
    const dir = fresh();
    const digest = await buildTaskPackage(dir, { images: [image], version: '1.2.0', isolation: 'any', costMs: 2.5 });
    expect((await readTaskPackage(dir)).config.costMs).toBe(2.5);
    expect(digest).not.toBe(digestOfGood);
    expect((await readTaskPackage(good)).config.costMs).toBeUndefined();
  });

  test('other manifests in the index, such as a signature, are left alone', async () => {
    const dir = copy();
    const index = readJson(join(dir, 'index.json'));
    index.manifests.push({
      mediaType: index.manifests[0].mediaType,
      digest: digestOf(Buffer.from('s')),
      size: 1,
      artifactType: 'a/b',
    });
    writeFileSync(join(dir, 'index.json'), JSON.stringify(index));
    expect((await readTaskPackage(dir)).digest).toBe((await readTaskPackage(good)).digest);
  });

  test('an architecture that is not in it has its own error', async () => {
    await expect(readImage(await readTaskPackage(good), 'riscv64')).rejects.toMatchObject({
      code: ErrorCode.WrongArchitecture,
      message: expect.stringMatching(/echo 1.2.0 has no image for riscv64, only for x86_64/),
    });
  });

  test('every flipped byte of every file is noticed', async () => {
    const files = readdirSync(good, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    expect(files.length).toBe(5);
    for (const file of files) {
      const path = join(file.parentPath, file.name);
      const bytes = readFileSync(path);
      const blob = path.includes('blobs');
      for (let at = 0; at < bytes.length; at += blob ? rounds(149, 37) : rounds(4, 1)) {
        const dir = good;
        const flipped = Buffer.from(bytes);
        flipped[at] = flipped[at]! ^ 0x01;
        writeFileSync(path, flipped);
        try {
          const outcome = await readTaskPackage(dir).then(
            (read) => read.digest,
            (error: { code: number }) => error.code,
          );
          // index.json and oci-layout are not covered by the digest: a flip there is refused, or does not matter.
          const allowed = blob
            ? [ErrorCode.TaskPackageDigestMismatch]
            : [
                ...[ErrorCode.BadTaskPackage, ErrorCode.TaskPackageDigestMismatch, ErrorCode.TaskTooLarge],
                digestOfGood,
              ];
          expect(allowed, `${file.name} byte ${at}`).toContain(outcome);
        } finally {
          writeFileSync(path, bytes);
        }
      }
    }
  });

  test('an image that is changed after it was read is not used', async () => {
    const dir = copy();
    const read = await readTaskPackage(dir);
    const path = blobPath(dir, read.images[0]!.digest);
    const bytes = readFileSync(path);
    bytes[200] = bytes[200]! ^ 0x80;
    writeFileSync(path, bytes);
    await expect(readImage(read, 'x86_64')).rejects.toMatchObject({ code: ErrorCode.TaskPackageDigestMismatch });
  });

  test('truncated and missing blobs, missing files, no directory', async () => {
    const { images } = await readTaskPackage(good);
    const short = copy();
    truncateSync(blobPath(short, images[0]!.digest), 100);
    await expect(readTaskPackage(short)).rejects.toMatchObject({ code: ErrorCode.TaskPackageDigestMismatch });
    const missing = copy();
    rmSync(blobPath(missing, images[0]!.digest));
    await expect(readTaskPackage(missing)).rejects.toMatchObject({
      code: ErrorCode.BadTaskPackage,
      message: expect.stringContaining(`${images[0]!.digest.slice(7)} is missing`),
    });
    for (const name of ['oci-layout', 'index.json']) {
      const dir = copy();
      rmSync(join(dir, name));
      await expect(readTaskPackage(dir)).rejects.toThrow(`${name} is missing`);
    }
    await expect(readTaskPackage(fresh())).rejects.toMatchObject({ code: ErrorCode.BadTaskPackage });
  });

  test('a FIFO instead of a file does not hang it', async () => {
    const dir = copy();
    rmSync(join(dir, 'index.json'));
    execFileSync('mkfifo', [join(dir, 'index.json')]);
    await expect(readTaskPackage(dir)).rejects.toThrow(/not a regular file/);
  });

  test.each<[string, 'index' | 'manifest' | 'config', string, unknown, RegExp]>([
    ['a digest that leads out', 'manifest', 'layers.0.digest', 'sha256:../../../etc/passwd', /layers.0.digest/],
    ['another hash', 'manifest', 'layers.0.digest', `md5:${'0'.repeat(32)}`, /layers.0.digest/],
    ['a size below zero', 'manifest', 'layers.0.size', -1, /layers.0.size/],
    ['a layer of another media type', 'manifest', 'layers.0.mediaType', 'application/x-tar', /layers.0.mediaType/],
    ['another artifact type', 'manifest', 'artifactType', 'x/y', /artifactType/],
    ['no layers', 'manifest', 'layers', [], /layers/],
    ['a config of another media type', 'manifest', 'config.mediaType', 'application/json', /config.mediaType/],
    ['OCI schema version 3', 'manifest', 'schemaVersion', 3, /schemaVersion/],
    ['a newer schema version', 'config', 'schemaVersion', 2, /schema version 2; this program reads 1/],
    ['a cost below zero', 'config', 'costMs', -1, /costMs/],
    ['a cost of more than an hour', 'config', 'costMs', 3_600_001, /costMs/],
    ['an unknown key', 'config', 'privileged', true, /privileged/],
    ['an unknown isolation', 'config', 'isolation', 'none', /isolation/],
    ['a version that is a path', 'config', 'version', '../1', /version/],
    [
      'a name that the image does not have',
      'config',
      'name',
      'other',
      /says name other, the notes of its image say echo/,
    ],
    ['less memory than the image asks for', 'config', 'memory', 4096, /says memory 4096/],
    ['a larger input than the image takes', 'config', 'maxInput', 2 ** 30, /says maxInput/],
    ['a wrong architecture', 'config', 'images.0.architecture', 'aarch64', /is for x86_64/],
    ['an image that is not listed', 'config', 'images.0.digest', digestOf(Buffer.from('x')), /different images/],
    ['an index without a task', 'index', 'manifests.0.artifactType', 'x/y', /holds 0 manifests/],
  ])('%s', async (_, part, path, value, message) => {
    const dir = forge((parts) => {
      const keys = path.split('.');
      const last = keys.pop()!;
      keys.reduce((at: Json, key) => at[key], parts[part])[last] = value;
      return undefined;
    });
    await expect(readTaskPackage(dir)).rejects.toMatchObject({
      code: ErrorCode.BadTaskPackage,
      message: expect.stringMatching(message),
    });
  });

  test.each<[string, 'manifest' | 'index', string, RegExp]>([
    [
      'an image above the limit',
      'manifest',
      'layers.0.size',
      /announced with 1099511627776 bytes; the limit is 67108864/,
    ],
    ['an OCI manifest above the limit', 'index', 'manifests.0.size', /the limit is 1048576/],
  ])('%s is refused before a byte of it is read', async (_, part, path, message) => {
    const dir = forge((parts) => {
      const keys = path.split('.');
      const last = keys.pop()!;
      keys.reduce((at: Json, key) => at[key], parts[part])[last] = 2 ** 40;
      return undefined;
    });
    const refusal = { code: ErrorCode.TaskTooLarge, message: expect.stringMatching(message) };
    // `forge` makes the sizes in the index right again.
    if (part === 'index') {
      const index = readJson(join(dir, 'index.json'));
      index.manifests[0].size = 2 ** 40;
      writeFileSync(join(dir, 'index.json'), JSON.stringify(index));
    }
    await expect(readTaskPackage(dir)).rejects.toMatchObject(refusal);
  });

  test('an index.json that is larger than any', async () => {
    const dir = copy();
    truncateSync(join(dir, 'index.json'), 1024 * 1024 + 1);
    await expect(readTaskPackage(dir)).rejects.toMatchObject({ code: ErrorCode.TaskTooLarge });
  });

  test.each([
    ['memory', 256 * 1024 * 1024],
    ['maxInput', 64 * 1024 * 1024],
    ['maxOutput', 64 * 1024 * 1024],
  ] as const)('a task that declares more %s than any may have', async (key, limit) => {
    const most = fakeImage({ [key]: limit });
    expect(readImageNotes(most, 'x')[key]).toBe(limit);
    const refusal = {
      code: ErrorCode.TaskTooLarge,
      message: expect.stringMatching(`declares ${limit + 1} bytes of ${key}; no task may have more than ${limit}`),
    };
    const more = fakeImage({ [key]: limit + 1 });
    const building = buildTaskPackage(fresh(), { images: [more], version: '1', isolation: 'any' });
    await expect(building).rejects.toMatchObject(refusal);
    const dir = forge(({ config }) => {
      config[key] = limit + 1;
      return more;
    });
    await expect(readTaskPackage(dir)).rejects.toMatchObject(refusal);
  });

  test('an image for another machine', async () => {
    const riscv = fakeImage({ machine: 243 });
    const refusal = {
      code: ErrorCode.WrongArchitecture,
      message: expect.stringMatching(/is for machine 243; tasks are built for x86_64 \(62\) and aarch64 \(183\)/),
    };
    await expect(readTaskPackage(forge(() => riscv))).rejects.toMatchObject(refusal);
    const building = buildTaskPackage(fresh(), { images: [riscv], version: '1', isolation: 'any' });
    await expect(building).rejects.toMatchObject(refusal);
  });

  test('an image that is no ELF file, one without notes, and a second task in the index', async () => {
    await expect(readTaskPackage(forge(() => Buffer.from('#!/bin/sh\n')))).rejects.toThrow(/does not start as/);
    const bare = elfFile(elfNote('GNU', 1, Buffer.alloc(4)));
    await expect(readTaskPackage(forge(() => bare))).rejects.toThrow(/no Kerbside ABI note/);
    const double = forge(({ index }) => {
      index.manifests.push({ ...index.manifests[0] });
      return undefined;
    });
    await expect(readTaskPackage(double)).rejects.toThrow(/holds 2 manifests/);
  });

  test('an unknown layout version', async () => {
    const dir = copy();
    writeFileSync(join(dir, 'oci-layout'), '{"imageLayoutVersion":"2.0.0"}');
    await expect(readTaskPackage(dir)).rejects.toThrow(/of version 2.0.0; this program reads 1.0.0/);
  });

  test('a symbolic link to a device', async () => {
    const dir = copy();
    rmSync(join(dir, 'index.json'));
    symlinkSync('/dev/zero', join(dir, 'index.json'));
    await expect(readTaskPackage(dir)).rejects.toThrow(/not a regular file/);
  });
});

describe('image notes', () => {
  test('what a good image declares', () => {
    expect(readImageNotes(fakeImage({ name: 'lane-2', memory: 123, maxInput: 4, maxOutput: 5 }), 'x')).toEqual({
      architecture: 'x86_64',
      abiVersion: 1,
      name: 'lane-2',
      memory: 123,
      maxInput: 4,
      maxOutput: 5,
    });
  });

  test('code for one machine with a note for the other is refused', () => {
    expect(readImageNotes(fakeImage({ machine: 183, target: 2 }), 'x').architecture).toBe('aarch64');
    expect(() => readImageNotes(fakeImage({ machine: 183 }), 'x')).toThrow(
      /note is for target 1, its code for aarch64/,
    );
    expect(() => readImageNotes(fakeImage({ target: 2 }), 'x')).toThrow(/note is for target 2, its code for x86_64/);
  });

  const abi = () => elfNote('Kerbside', 1, Buffer.from([1, 0, 0, 0, 1, 0, 0, 0]));
  const manifest = (name: string) => {
    const bytes = Buffer.alloc(88);
    bytes.write(name, 24, 'latin1');
    return elfNote('Kerbside', 2, bytes);
  };

  test.each<[string, Buffer, RegExp]>([
    ['no manifest note', elfFile(abi()), /no Kerbside manifest note/],
    ['two manifest notes', elfFile(Buffer.concat([abi(), manifest('a'), manifest('b')])), /there twice/],
    ['a note of an unknown type', elfFile(Buffer.concat([abi(), elfNote('Kerbside', 7, Buffer.alloc(4))])), /type 7/],
    [
      'a manifest note of another size',
      elfFile(Buffer.concat([abi(), elfNote('Kerbside', 2, Buffer.alloc(80))])),
      /80 bytes/,
    ],
    ['an empty name', elfFile(Buffer.concat([abi(), manifest('')])), /the name/],
    ['a name with a slash', elfFile(Buffer.concat([abi(), manifest('../x')])), /the name/],
    ['a name with something behind the zero', elfFile(Buffer.concat([abi(), manifest('a\0b')])), /the name/],
    ['a name without an end', elfFile(Buffer.concat([abi(), manifest('a'.repeat(64))])), /the name/],
  ])('%s', (_, bytes, message) => {
    expect(() => readImageNotes(bytes, 'x')).toThrow(message);
  });

  test('cut anywhere, or with any byte at its extremes, it is refused or read, never out of bounds', () => {
    const whole = fakeImage();
    const attempt = (bytes: Buffer) => {
      try {
        readImageNotes(bytes, 'x');
      } catch (error) {
        const codes = [ErrorCode.BadTaskPackage, ErrorCode.WrongArchitecture, ErrorCode.TaskTooLarge];
        expect(codes).toContain((error as KerbError).code);
      }
    };
    for (let size = 0; size < whole.length; size++) attempt(whole.subarray(0, size));
    for (let at = 0; at < whole.length; at++) {
      for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
        const changed = Buffer.from(whole);
        changed[at] = value;
        attempt(changed);
      }
    }
    expect(() => readImageNotes(whole.subarray(0, whole.length - 1), 'x')).toThrow(/leaves the file/);
  });
});

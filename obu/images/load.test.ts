import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { Engine } from '../engine/docker-client.ts';
import { IMAGES, INDEX, MANIFEST } from './format.ts';
import { loadImages } from './load.ts';
import { checkBundle } from './read.ts';
import { checkSaved } from './saved.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kerb-load-'));
  file = join(folder, 'car.tar');
});
afterEach(() => rmSync(folder, { recursive: true }));

const manifest = Buffer.from('services: { a: { image: "a:1" } }\n');
const images = Buffer.alloc(3_000_000, 'layer');
const partOf = (bytes: Buffer) => ({ sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length });

async function tarOf(...files: (readonly [string, string | Buffer])[]): Promise<Buffer> {
  const tar = pack();
  for (const [name, body] of files) tar.entry({ name, mtime: new Date(0) }, body);
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function bundle() {
  const index = {
    format: 1,
    architecture: 'amd64',
    file: 'car.yaml',
    images: { 'a:1': 'sha256:new-a', 'b:1': 'sha256:new-b' },
    [MANIFEST]: partOf(manifest),
    [IMAGES]: partOf(images),
  };
  writeFileSync(file, await tarOf([INDEX, JSON.stringify(index)], [MANIFEST, manifest], [IMAGES, images]));
  return await checkBundle(file, () => {}, new AbortController().signal);
}

/** An engine that keeps names; `names` is what it has, and `loading` what it does and says when it loads. */
class FakeEngine {
  readonly names = new Map<string, string>([
    ['b:1', 'sha256:old-b'],
    ['other:1', 'sha256:other'],
  ]);
  loading: (load: (...more: string[]) => void) => string | Error = () => '';
  /** Bytes of the images that it takes before it answers. */
  takes = Infinity;

  get engine(): Engine {
    const missing = () => Object.assign(new Error('no such image'), { statusCode: 404 });
    const getImage = (name: string) => ({
      inspect: async () => {
        const id = this.names.get(name);
        if (id === undefined) throw missing();
        return { Id: id, Architecture: 'amd64' };
      },
      remove: async () => {
        const held = [...this.names].filter(([key, id]) => key === name || id === name);
        if (held.length === 0) throw missing();
        for (const [key] of held) this.names.delete(key);
      },
      tag: async ({ repo, tag }: { repo: string; tag: string }) => this.names.set(`${repo}:${tag}`, name),
    });
    const loadImage = async (input: Readable) => {
      let taken = 0;
      for await (const chunk of input) {
        taken += (chunk as Buffer).length;
        if (taken >= this.takes) break;
      }
      const said = this.loading((...loaded) => {
        for (const name of loaded) this.names.set(name, `sha256:new-${name[0]}`);
      });
      if (said instanceof Error) throw said;
      return Readable.from([said]);
    };
    const listImages = async () => [...new Set(this.names.values())].map((Id) => ({ Id }));
    return {
      host: 'tcp://elsewhere',
      calls: { getImage, listImages, version: async () => ({ Arch: 'amd64' }) },
      streams: { loadImage },
    } as unknown as Engine;
  }
}

/** It loads one of them, and then says this. */
const loads =
  (name: string, said: string): FakeEngine['loading'] =>
  (done) => {
    done(name);
    return said;
  };

const before = { 'b:1': 'sha256:old-b', 'other:1': 'sha256:other' };

describe('the images of a bundle', () => {
  const load = async (fake: FakeEngine) =>
    loadImages(await bundle(), fake.engine, () => {}, new AbortController().signal);

  it('are on the engine, and go again with all their names when they are not used after all', async () => {
    const fake = new FakeEngine();
    fake.loading = (done) => {
      done('a:1', 'b:1');
      return '{"stream":"Loaded image: a:1"}\n';
    };
    const loaded = await load(fake);
    expect(Object.fromEntries(fake.names)).toEqual({ ...before, 'a:1': 'sha256:new-a', 'b:1': 'sha256:new-b' });
    await loaded.undo();
    expect(Object.fromEntries(fake.names)).toEqual(before);
  });

  it.each<[string, Partial<FakeEngine>, number, RegExp]>([
    [
      'whose disk is full',
      { loading: loads('b:1', '{"errorDetail":{"message":"write /x: no space left on device"}}\n') },
      ErrorCode.DiskFull,
      /disk of the engine is full; nothing of it was applied/,
    ],
    [
      'whose disk is full before it has read all',
      { takes: 70_000, loading: loads('a:1', '{"error":"no space left on device"}\n') },
      ErrorCode.DiskFull,
      /disk of the engine is full/,
    ],
    [
      'that says why it cannot',
      { loading: loads('a:1', '{"error":"invalid tar header"}\n') },
      ErrorCode.BadBundle,
      /could not be loaded: invalid tar header; nothing of it was applied/,
    ],
    ['that breaks off', { loading: loads('a:1', '{"stream":"Loa') }, ErrorCode.BadBundle, /broke off/],
    ['that hangs up', { takes: 1, loading: () => new Error('socket hang up') }, ErrorCode.BadBundle, /socket hang up/],
    [
      'that does not have them afterwards',
      { loading: loads('a:1', fakeGone) },
      ErrorCode.BadBundle,
      /the engine does not have b:1/,
    ],
  ])('are not there after an engine %s', async (what, behaviour, code, message) => {
    const fake = Object.assign(new FakeEngine(), behaviour);
    if (what.startsWith('that does not have')) fake.names.delete('b:1');
    const names = Object.fromEntries(fake.names);
    await expect(load(fake)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(Object.fromEntries(fake.names)).toEqual(names);
  });
});

/** It says that all is well. */
const fakeGone = '{"stream":"Loaded image: a:1"}\n';

describe('what the engine saves', () => {
  const signal = new AbortController().signal;
  const check = async (bytes: Buffer) => {
    writeFileSync(file, bytes);
    await checkSaved(file, signal);
  };

  it('is taken when it is whole', async () => {
    await check(await tarOf(['layer.tar', images], ['manifest.json', '[{"error":"no failure"}]']));
  });

  it('is refused when it is cut off, is something else, or ends with the words of a failure', async () => {
    const whole = await tarOf(['layer.tar', images], ['manifest.json', '[]']);
    const failure = Buffer.from('{"errorDetail":{"message":"layer gone"},"error":"layer gone"}\n');
    await expect(check(whole.subarray(0, 2_000_000))).rejects.toMatchObject({ code: ErrorCode.BadBundle });
    await expect(check(await tarOf(['layer.tar', images]))).rejects.toThrow(/not whole/);
    await expect(check(Buffer.concat([whole.subarray(0, 100_000), failure]))).rejects.toThrow(
      /save the images: layer gone/,
    );
    await expect(check(failure)).rejects.toThrow(/save the images: layer gone/);
  });
});

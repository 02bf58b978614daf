import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pack } from 'tar-stream';
import { ErrorCode, isErrno, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { syncToDisk } from '../../shared/host/atomic-write.ts';
import { type Engine, engineMessage, engineStatus } from '../engine/docker-client.ts';
import { parseManifest } from '../manifest/manifest.ts';
import type { ManifestFile } from '../state/desired-state.ts';
import { findImage, pinnedDigest } from './find-image.ts';
import { type BundleIndex, FORMAT, IMAGES, INDEX, MANIFEST } from './format.ts';
import { Metered, type Progress } from './metered.ts';
import { checkSaved } from './saved.ts';

export interface BundleOptions {
  readonly engine: Engine;
  readonly manifest: ManifestFile;
  /** File to write; one that is there is replaced when the new one is whole. */
  readonly output: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/**
 * Writes a bundle of a manifest and its images, as the engine has them.
 * @throws KerbError BadManifest | ImageMissing | BadBundle | DiskFull | EngineUnavailable | Cancelled; then no file is left
 */
export async function writeBundle(options: BundleOptions): Promise<BundleIndex> {
  const { engine, manifest, output, progress, signal } = options;
  const names = [...new Set(parseManifest(manifest.text, manifest.file).map(({ image }) => image))].sort();
  const { ids, architecture } = await inspectAll(engine, names);
  const images = `${output}.images.part`;
  const whole = `${output}.part`;
  try {
    // A tar says the size of an entry before its bytes, and the engine doesn't say it at all.
    const saved = await saveImages(engine, names, images, progress, signal);
    const text = Buffer.from(manifest.text);
    const index: BundleIndex = {
      format: FORMAT,
      architecture,
      file: basename(manifest.file),
      images: ids,
      [MANIFEST]: { sha256: createHash('sha256').update(text).digest('hex'), bytes: text.length },
      [IMAGES]: saved,
    };
    const tar = pack();
    const header = (name: string, size: number) => ({ name, size, mtime: new Date(0) });
    const fill = async () => {
      const json = Buffer.from(`${JSON.stringify(index, undefined, 2)}\n`);
      tar.entry(header(INDEX, json.length), json);
      tar.entry(header(MANIFEST, text.length), text);
      const meter = new Metered('writing the bundle', saved.bytes, progress);
      await pipeline(createReadStream(images), meter, tar.entry(header(IMAGES, saved.bytes)), { signal });
      tar.finalize();
    };
    const filling = fill().catch((error: unknown) => {
      tar.destroy(); // ends the other one
      throw error;
    });
    await Promise.all([filling, pipeline(tar, createWriteStream(whole), { signal })]);
    await syncToDisk(whole);
    await rename(whole, output);
    await syncToDisk(dirname(output));
    return index;
  } catch (error) {
    throw toKerbError(error, output, signal);
  } finally {
    for (const part of [images, whole]) await rm(part, { force: true });
  }
}

/** @throws KerbError ImageMissing that names all that are missing; WrongArchitecture when they are not all for one */
async function inspectAll(engine: Engine, names: readonly string[]) {
  const found = await Promise.all(
    names.map(async (name) => {
      try {
        return { name, ...(await findImage(engine, name)) };
      } catch (error) {
        throw new KerbError(ErrorCode.EngineUnavailable, `the engine at ${engine.host}: ${engineMessage(error)}`);
      }
    }),
  );
  const missing = found.flatMap(({ name, id }) => (id === undefined ? [name] : []));
  if (missing.length > 0) {
    const message = `the engine at ${engine.host} does not have ${missing.join(', ')}; build with \`kerb image build DIR --tag NAME\``;
    throw new KerbError(ErrorCode.ImageMissing, message, { missing });
  }
  for (const { name, id } of found) {
    const digest = pinnedDigest(name);
    if (digest === undefined || digest === id) continue;
    // An engine forgets where an image came from when it is saved.
    const message = `${name} is pinned by the digest of its registry, which no bundle can carry; pin it by its id: ${name.replace(digest, id!)}`;
    throw new KerbError(ErrorCode.BadBundle, message, { name });
  }
  const architectures = [...new Set(found.map(({ architecture }) => architecture))];
  if (architectures.length > 1) {
    const list = found.map(({ name, architecture }) => `${name} for ${architecture}`).join(', ');
    throw new KerbError(ErrorCode.WrongArchitecture, `the images are for different machines: ${list}`);
  }
  return { ids: Object.fromEntries(found.map(({ name, id }) => [name, id!])), architecture: architectures[0] ?? '' };
}

async function saveImages(
  engine: Engine,
  names: readonly string[],
  file: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<{ sha256: string; bytes: number }> {
  progress(`saving ${names.join(', ')}`);
  // dockerode has it, its types don't. All images in one call, so that layers which they share are there once.
  const client = engine.streams as unknown as { getImages(options: object): Promise<Readable> };
  // By its id what is pinned: the engine has no such name for it.
  const query = { names: names.map((name) => pinnedDigest(name) ?? name) };
  const stream = await client.getImages({ _query: query, abortSignal: signal });
  const meter = new Metered('saving images', undefined, progress);
  await pipeline(stream, meter, createWriteStream(file), { signal });
  await checkSaved(file, signal);
  return { sha256: meter.sha256(), bytes: meter.bytes };
}

function toKerbError(error: unknown, output: string, signal: AbortSignal): KerbError {
  if (isKerbError(error)) return error;
  if (signal.aborted) return new KerbError(ErrorCode.Cancelled, `${output} was not written: stopped`);
  if (isErrno(error, 'ENOSPC')) {
    const message = `${output} cannot be written: its file system is full; a bundle needs twice its size while it is made`;
    return new KerbError(ErrorCode.DiskFull, message, { output });
  }
  const why = engineStatus(error) === undefined ? messageOf(error) : engineMessage(error);
  return new KerbError(ErrorCode.BadBundle, `${output} cannot be written: ${why}`, { output }, { cause: error });
}

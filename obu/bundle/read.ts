import { createReadStream } from 'node:fs';
import { open, statfs } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type Header } from 'tar-stream';
import { ErrorCode, isErrno, isKerbError, KerbError, messageOf } from '../../shared/errors.ts';
import { type Engine, engineMessage } from '../engine/docker-client.ts';
import { MAX_MANIFEST } from '../manifest/manifest.ts';
import type { ManifestFile } from '../state/desired-state.ts';
import { type BundleIndex, IMAGES, INDEX, indexSchema, MANIFEST, MAX_INDEX } from './format.ts';
import { Metered, type Progress } from './metered.ts';

export interface Bundle {
  readonly path: string;
  readonly index: BundleIndex;
  readonly manifest: ManifestFile;
}

/** Whether a file is a tar, and so is meant to be a bundle. @throws errno errors of a file that can't be read */
export async function isTar(path: string): Promise<boolean> {
  if (path.endsWith('.tar')) return true;
  const handle = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(262), 0, 262, 0);
    return bytesRead === 262 && buffer.toString('latin1', 257) === 'ustar';
  } finally {
    await handle.close();
  }
}

/**
 * Reads a bundle to its end and checks every byte of it; nothing of it has been used then.
 * @throws KerbError BadBundle when it is cut off, changed, or none
 */
export async function checkBundle(path: string, progress: Progress, signal: AbortSignal): Promise<Bundle> {
  let index: BundleIndex | undefined;
  let manifest: ManifestFile | undefined;
  let complete = false;
  await readEntries(path, signal, async (entry, position) => {
    if (position === 0) {
      index = parseIndex(path, await smallEntry(path, entry, INDEX, MAX_INDEX));
      return;
    }
    const name = position === 1 ? MANIFEST : IMAGES;
    if (position > 2 || entry.header.name !== name) {
      throw bad(path, position > 2 ? `"${entry.header.name}" does not belong there` : `${name} is missing`);
    }
    const wanted = index![name];
    if (entry.header.size !== wanted.bytes) {
      throw bad(path, `${name} has ${entry.header.size} bytes, and should have ${wanted.bytes}`);
    }
    const meter = new Metered('checking the bundle', wanted.bytes, progress);
    const chunks: Buffer[] = [];
    await pipeline(entry, meter, async (source: AsyncIterable<Buffer>) => {
      for await (const chunk of source) if (name === MANIFEST) chunks.push(chunk);
    });
    if (meter.sha256() !== wanted.sha256) throw bad(path, `${name} has been changed: its digest is another`);
    if (name === MANIFEST) manifest = { file: index!.file, text: Buffer.concat(chunks).toString('utf8') };
    else complete = true;
  });
  if (index === undefined || manifest === undefined || !complete) throw bad(path, 'it is cut off');
  return { path, index, manifest };
}

/**
 * Gives the images of a bundle to the engine.
 * @throws KerbError WrongArchitecture | DiskFull | BadBundle when the file has changed since it was checked
 */
export async function loadImages(
  { path, index }: Bundle,
  engine: Engine,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const wanted = index[IMAGES];
  await checkEngine(path, index, engine);
  progress(`loading ${Object.keys(index.images).join(', ')}`);
  await readEntries(path, signal, async (entry, position) => {
    if (position !== 2) {
      entry.resume();
      return;
    }
    const meter = new Metered('loading images', wanted.bytes, progress);
    const load = async () => {
      const answer = await engine.streams.loadImage(meter, { abortSignal: signal });
      await followLoading(engine, answer);
      meter.resume(); // what the engine did not care to read
    };
    await Promise.all([load(), pipeline(entry, meter)]).catch((error: unknown) => {
      throw loadError(path, error, signal);
    });
    if (meter.sha256() !== wanted.sha256) throw bad(path, 'it has been changed while it was read');
  });
}

async function checkEngine(path: string, index: BundleIndex, engine: Engine): Promise<void> {
  const { Arch } = await engine.calls.version();
  if (Arch !== index.architecture) {
    const message = `${path} is for ${index.architecture}, and this engine runs on ${Arch}; make one from images for ${Arch}`;
    throw new KerbError(ErrorCode.WrongArchitecture, message, { path });
  }
  if (!engine.host.startsWith('unix://')) return;
  const { DockerRootDir } = (await engine.calls.info()) as { readonly DockerRootDir: string };
  // An engine that only its owner may look into: then it says itself when its disk is full.
  const disk = await statfs(DockerRootDir).catch(() => undefined);
  if (disk === undefined) return;
  const free = disk.bavail * disk.bsize;
  if (free >= index[IMAGES].bytes) return;
  const mb = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
  const message = `${path} has ${mb(index[IMAGES].bytes)} of images, and ${DockerRootDir}, where the engine keeps them, has ${mb(free)} free`;
  throw new KerbError(ErrorCode.DiskFull, message, { path });
}

/** The engine answers 200 as soon as it begins; what becomes of it comes as events. */
async function followLoading(engine: Engine, answer: NodeJS.ReadableStream): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    engine.streams.modem.followProgress(answer, (error: Error | null) => (error ? reject(error) : resolve()));
  });
}

function loadError(path: string, error: unknown, signal: AbortSignal): KerbError {
  if (isKerbError(error)) return error;
  if (signal.aborted) return new KerbError(ErrorCode.Cancelled, 'stopped');
  const why = engineMessage(error);
  if (/no space left on device/i.test(why)) {
    return new KerbError(ErrorCode.DiskFull, `the images of ${path} do not fit: the engine's disk is full`, { path });
  }
  return bad(path, `its images could not be loaded: ${why}`);
}

/** One file in a tar: its bytes, and what the tar says of it. */
type Entry = Readable & { readonly header: Header };

/** Calls `each` with every entry in turn; an entry that it does not read is passed over. */
async function readEntries(
  path: string,
  signal: AbortSignal,
  each: (entry: Entry, position: number) => Promise<void>,
): Promise<void> {
  const tar = extract();
  const reading = pipeline(createReadStream(path), tar, { signal });
  reading.catch(() => {}); // it is awaited below; until then its failure is the loop's
  try {
    let position = 0;
    for await (const entry of tar) {
      await each(entry as unknown as Entry, position++);
      entry.resume();
    }
    await reading;
  } catch (error) {
    tar.destroy();
    await reading.catch(() => {});
    if (isKerbError(error)) throw error;
    if (signal.aborted) throw new KerbError(ErrorCode.Cancelled, 'stopped');
    if (isErrno(error)) throw bad(path, `it cannot be read: ${error.code}`);
    const why = messageOf(error);
    throw bad(path, /unexpected end/i.test(why) ? 'it is cut off' : `it is no bundle: ${why}`);
  }
}

async function smallEntry(path: string, entry: Entry, name: string, most: number): Promise<Buffer> {
  const { header } = entry;
  if (header.name !== name) throw bad(path, `it is no bundle: it begins with "${header.name}" and not with ${name}`);
  if ((header.size ?? 0) > most) throw bad(path, `${name} has ${header.size} bytes; ${most} are the limit`);
  const chunks: Buffer[] = [];
  for await (const chunk of entry) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function parseIndex(path: string, bytes: Buffer): BundleIndex {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw bad(path, `its ${INDEX} is no JSON`);
  }
  const parsed = indexSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw bad(path, `its ${INDEX} cannot be used: ${issue!.path.join('.')}: ${issue!.message}`);
  }
  if (parsed.data[MANIFEST].bytes > 4 * MAX_MANIFEST) throw bad(path, `its ${MANIFEST} is too long`);
  return parsed.data;
}

function bad(path: string, why: string): KerbError {
  return new KerbError(
    ErrorCode.BadBundle,
    `bundle ${path}: ${why}; nothing of it was applied, make it again with kerb obu bundle`,
    { path },
  );
}

/** The images of a bundle on their way into the engine, whole or not at all. */
import { statfs } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import { type Engine, engineMessage, isDiskFull } from '../engine/docker-client.ts';
import { readProgress } from '../engine/progress-stream.ts';
import { findImage, pinnedDigest } from './find-image.ts';
import { type BundleIndex, IMAGES } from './format.ts';
import { Metered, type Progress } from './metered.ts';
import { type Bundle, badBundle, readEntries } from './read.ts';

/** The loaded images, kept until they are in use. */
export interface LoadedImages {
  /** Takes the names back, and what has no other name with them. Never throws. */
  undo(): Promise<void>;
}

/**
 * Checks that an engine can take a bundle.
 * @throws KerbError WrongArchitecture | DiskFull
 */
export async function checkTarget({ path, index }: Bundle, engine: Engine): Promise<void> {
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

/**
 * Gives the images of a bundle to the engine. When that fails, the engine has the names that it had before.
 * @throws KerbError WrongArchitecture | DiskFull | Cancelled | BadBundle, also when the file has changed since it was
 * checked
 */
export async function loadImages(
  bundle: Bundle,
  engine: Engine,
  progress: Progress,
  signal: AbortSignal,
): Promise<LoadedImages> {
  await checkTarget(bundle, engine);
  const { path, index } = bundle;
  const names = Object.keys(index.images);
  const before = await idsOf(engine, names);
  const there = new Set((await engine.calls.listImages({ all: true })).map(({ Id }) => Id));
  const undo = () => takeBack(engine, { index, before, there });
  progress(`loading ${names.join(', ')}`);
  try {
    await pour(bundle, engine, progress, signal);
    const after = await idsOf(engine, names);
    const missing = names.filter((name) => !after.has(name));
    if (missing.length > 0) {
      throw badBundle(path, `its images were loaded, and the engine does not have ${missing.join(', ')}`);
    }
    return { undo };
  } catch (error) {
    await undo();
    throw loadError(path, error, signal);
  }
}

async function pour({ path, index }: Bundle, engine: Engine, progress: Progress, signal: AbortSignal): Promise<void> {
  const wanted = index[IMAGES];
  await readEntries(path, signal, async (entry, position) => {
    if (position !== 2) {
      entry.resume();
      return;
    }
    const meter = new Metered('loading images', wanted.bytes, progress);
    const load = async () => {
      try {
        await readProgress(await engine.streams.loadImage(meter, { abortSignal: signal }));
        meter.resume(); // what the engine did not care to read
      } catch (error) {
        meter.destroy(); // ends the other one
        throw error;
      }
    };
    const [loaded, read] = await Promise.allSettled([load(), pipeline(entry, meter)]);
    // The engine's error is the cause of the end of reading, not its effect.
    if (loaded.status === 'rejected') throw loadError(path, loaded.reason, signal);
    if (read.status === 'rejected') throw read.reason;
    if (meter.sha256() !== wanted.sha256) throw badBundle(path, 'it has been changed while it was read');
  });
}

async function idsOf(engine: Engine, names: readonly string[]): Promise<Map<string, string>> {
  const found = await Promise.all(names.map(async (name) => [name, (await findImage(engine, name))?.id] as const));
  return new Map(found.flatMap(([name, id]) => (id === undefined ? [] : [[name, id]])));
}

interface Before {
  readonly index: BundleIndex;
  /** Id by name, for the names that the engine had. */
  readonly before: ReadonlyMap<string, string>;
  /** Ids of all images that the engine had. */
  readonly there: ReadonlySet<string>;
}

async function takeBack(engine: Engine, { index, before, there }: Before): Promise<void> {
  const names = Object.keys(index.images);
  const after = await idsOf(engine, names).catch(() => new Map<string, string>());
  for (const name of names) {
    const was = before.get(name);
    if (after.get(name) === was || pinnedDigest(name) !== undefined) continue;
    if (was === undefined) await quietly(engine.calls.getImage(name).remove());
    else await quietly(engine.calls.getImage(was).tag(partsOf(name)));
  }
  // Images without a name: they never had one, or it was given to another image.
  for (const id of new Set([...after.values(), ...Object.values(index.images)])) {
    if (!there.has(id)) await quietly(engine.calls.getImage(id).remove());
  }
}

/** An image that cannot be removed, because it is missing or in use, does no harm. */
async function quietly(call: Promise<unknown>): Promise<void> {
  await call.catch(() => {});
}

function partsOf(name: string): { readonly repo: string; readonly tag: string } {
  const colon = name.lastIndexOf(':');
  return colon > name.lastIndexOf('/')
    ? { repo: name.slice(0, colon), tag: name.slice(colon + 1) }
    : { repo: name, tag: 'latest' };
}

function loadError(path: string, error: unknown, signal: AbortSignal): KerbError {
  if (isKerbError(error)) return error;
  if (signal.aborted) return new KerbError(ErrorCode.Cancelled, 'stopped; nothing of the bundle was applied');
  const why = engineMessage(error);
  if (isDiskFull(why)) {
    const message = `the images of ${path} do not fit: the disk of the engine is full; nothing of it was applied, make room there`;
    return new KerbError(ErrorCode.DiskFull, message, { path });
  }
  return badBundle(path, `its images could not be loaded: ${why}`);
}

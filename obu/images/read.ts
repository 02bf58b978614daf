import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type Header } from 'tar-stream';
import { ErrorCode, isErrno, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { readFault } from '../../shared/host/read-fault.ts';
import { plainIssue } from '../../shared/text/plain-issue.ts';
import { decodeUtf8 } from '../../shared/text/utf8.ts';
import { MAX_MANIFEST } from '../manifest/manifest.ts';
import type { ManifestFile } from '../state/desired-state.ts';
import { type BundleIndex, IMAGES, INDEX, indexSchema, MANIFEST, MAX_INDEX } from './format.ts';
import { Metered, type Progress } from './metered.ts';

export interface Bundle {
  readonly path: string;
  readonly index: BundleIndex;
  readonly manifest: ManifestFile;
}

/** True when a file is a tar, and so is meant to be a bundle. @throws errno errors of a file that can't be read */
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
      throw badBundle(path, position > 2 ? `"${entry.header.name}" does not belong there` : `${name} is missing`);
    }
    const wanted = index![name];
    if (entry.header.size !== wanted.bytes) {
      throw badBundle(path, `${name} has ${entry.header.size} bytes, and should have ${wanted.bytes}`);
    }
    const meter = new Metered('checking the bundle', wanted.bytes, progress);
    const chunks: Buffer[] = [];
    await pipeline(entry, meter, async (source: AsyncIterable<Buffer>) => {
      for await (const chunk of source) if (name === MANIFEST) chunks.push(chunk);
    });
    if (meter.sha256() !== wanted.sha256) throw badBundle(path, `${name} has been changed: its digest is another`);
    if (name === MANIFEST) manifest = { file: index!.file, text: textOf(path, Buffer.concat(chunks)) };
    else complete = true;
  });
  if (index === undefined || manifest === undefined || !complete) throw badBundle(path, 'it is cut off');
  return { path, index, manifest };
}

function textOf(path: string, bytes: Buffer): string {
  const decoded = decodeUtf8(bytes);
  if ('text' in decoded) return decoded.text;
  throw badBundle(path, `line ${decoded.line} of its ${MANIFEST} is not text in UTF-8`);
}

/** One file in a tar: its bytes, and what the tar says of it. */
type Entry = Readable & { readonly header: Header };

/** Calls `each` with every entry in turn; an entry that it does not read is passed over. */
export async function readEntries(
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
    if (isErrno(error)) throw badBundle(path, `it cannot be read: ${readFault(error)}`);
    const why = messageOf(error);
    throw badBundle(path, /unexpected end/i.test(why) ? 'it is cut off' : `it is not a valid bundle: ${why}`);
  }
}

async function smallEntry(path: string, entry: Entry, name: string, most: number): Promise<Buffer> {
  const { header } = entry;
  if (header.name !== name)
    throw badBundle(path, `it is not a valid bundle: it begins with "${header.name}" and not with ${name}`);
  if ((header.size ?? 0) > most) throw badBundle(path, `${name} has ${header.size} bytes; ${most} are the limit`);
  const chunks: Buffer[] = [];
  for await (const chunk of entry) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function parseIndex(path: string, bytes: Buffer): BundleIndex {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw badBundle(path, `its ${INDEX} is not valid JSON`);
  }
  const parsed = indexSchema.safeParse(json, { error: plainIssue });
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const what = issue!.path.length === 0 ? 'it' : issue!.path.join('.');
    throw badBundle(path, `its ${INDEX} cannot be used: ${what} ${issue!.message}`);
  }
  if (parsed.data[MANIFEST].bytes > 4 * MAX_MANIFEST) throw badBundle(path, `its ${MANIFEST} is too long`);
  return parsed.data;
}

export function badBundle(path: string, why: string): KerbError {
  return new KerbError(
    ErrorCode.BadBundle,
    `bundle ${path}: ${why}; nothing of it was applied, make it again with kerb obu bundle`,
    { path },
  );
}

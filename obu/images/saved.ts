import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';

/** The engine's words at the end of a file are looked for in so many bytes. */
const TAIL = 8192;

/**
 * Checks that the output of `docker save` is complete. When saving fails after its first byte, the engine writes the
 * error into the file, behind what was saved so far, and ends it like any other.
 * @throws KerbError BadBundle
 */
export async function checkSaved(file: string, signal: AbortSignal): Promise<void> {
  let hasManifest = false;
  const tar = extract();
  tar.on('entry', ({ name }, entry, next) => {
    hasManifest ||= name === 'manifest.json';
    // A fault in an entry is a fault of the tar, which reports it too.
    entry
      .on('error', () => {})
      .on('end', next)
      .resume();
  });
  let broken = '';
  try {
    await pipeline(createReadStream(file), tar, { signal });
  } catch (error) {
    if (signal.aborted) throw error;
    broken = messageOf(error);
  }
  const said = await lastWords(file);
  if (said === undefined && hasManifest && broken === '') return;
  throw new KerbError(
    ErrorCode.BadBundle,
    `the engine could not save the images: ${said ?? 'what it sent is not whole'}`,
  );
}

/** The error message that the engine appended to a file. */
async function lastWords(file: string): Promise<string | undefined> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, TAIL);
    const { buffer } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    const match = /\{"(?:errorDetail|error)":[^\0]*\}\s*$/.exec(buffer.toString('utf8'));
    if (match === null) return undefined;
    const { error, errorDetail } = JSON.parse(match[0]) as { error?: string; errorDetail?: { message?: string } };
    return errorDetail?.message ?? error;
  } catch {
    return undefined; // not what the engine writes
  } finally {
    await handle.close();
  }
}

import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isErrno } from '../base/errors.ts';

export interface WriteOptions {
  /** Of the file, also where one is replaced that has another; less what the umask takes away. */
  readonly mode: number;
  /** Whether it is on the disk when this returns, and its name too. False: for what can be made again after a power cut. */
  readonly durable?: boolean;
}

/**
 * Writes all of a file or nothing: it is never visible half written under its name, and what was there before stays when
 * writing fails.
 * @throws errors of the file system; then nothing is left behind
 */
export async function writeFileAtomically(
  path: string,
  data: string | Uint8Array,
  { mode, durable = true }: WriteOptions,
): Promise<void> {
  const temporary = besideName(path);
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(data);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  if (durable) await syncName(path);
}

/**
 * Fills a folder beside `path` and then gives it its name, so that nobody ever sees half of it.
 * @param fill makes the folder and what is in it
 * @returns false when there is a folder with files under that name by now: somebody else was faster, and that one stays
 * @throws what `fill` throws, and errors of the file system; then nothing is left behind
 */
export async function makeFolderAtomically(path: string, fill: (folder: string) => Promise<unknown>): Promise<boolean> {
  const temporary = besideName(path);
  try {
    await fill(temporary);
    await rename(temporary, path);
    return true;
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    if (isErrno(error, 'ENOTEMPTY') || isErrno(error, 'EEXIST')) return false;
    throw error;
  }
}

/** Returns when what was written to a file, or the names in a folder, are on the disk. @throws errors of the file system */
export async function syncToDisk(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A hidden name in the same folder, and so on the same file system, that nobody else uses. */
function besideName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`);
}

/** The file is whole under its name by now: a folder that may not be read, or cannot be synced, is no failure. */
async function syncName(path: string): Promise<void> {
  try {
    await syncToDisk(dirname(path));
  } catch (error) {
    const isHarmless = ['EACCES', 'EPERM', 'EINVAL', 'ENOTSUP'].some((code) => isErrno(error, code));
    if (!isHarmless) throw error;
  }
}

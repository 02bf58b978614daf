import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../../shared/base/errors.ts';

export interface FolderUse {
  /** Bytes that it occupies on the disk, for a sparse file less than its size. */
  readonly bytes: number;
  /** Files and folders in it. */
  readonly entries: number;
}

/** A block of `st_blocks`, whatever the file system's own are. */
const BLOCK = 512;

/**
 * Bytes that a folder occupies on the disk, with everything below it; symbolic links are not followed. It may change
 * meanwhile.
 * @param limit Stops as soon as this is reached: nobody is to make us count for ever.
 * @throws errors of the file system, but those that say that something has gone meanwhile
 */
export async function folderUse(folder: string, limit: FolderUse): Promise<FolderUse> {
  let bytes = 0;
  let entries = 0;
  const folders = [folder];
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    try {
      for await (const entry of await opendir(next)) {
        const path = join(next, entry.name);
        const use = await lstat(path).catch(ignoreMissing);
        if (use === undefined) continue;
        bytes += use.blocks * BLOCK;
        entries++;
        if (bytes > limit.bytes || entries > limit.entries) return { bytes, entries };
        if (use.isDirectory()) folders.push(path);
      }
    } catch (error) {
      ignoreMissing(error);
    }
  }
  return { bytes, entries };
}

/** ENAMETOOLONG: nested deeper than a path can say; what is above it has been counted. */
function ignoreMissing(error: unknown): undefined {
  if (isErrno(error, 'ENOENT') || isErrno(error, 'ENOTDIR') || isErrno(error, 'ENAMETOOLONG')) return undefined;
  throw error;
}

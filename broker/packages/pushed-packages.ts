import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { ErrorCode, isErrno, KerbError, messageOf } from '../../shared/base/errors.ts';
import { syncToDisk, writeFileAtomically } from '../../shared/host/atomic-write.ts';
import { exists } from '../../shared/identity/files.ts';
import { isTenant } from '../../shared/identity/identity.ts';
import type { FileOffer } from '../../shared/task-package/push-codec.ts';

const PACKAGE_DIR = 'package';
const ORIGIN_FILE = 'origin.json';
const ENTRY = /^[0-9a-f]{64}$/;
/** In front of the name of an entry that another one takes the place of. */
const REPLACED = '.replaced-';

const originSchema = z.strictObject({
  tenant: z.string().refine(isTenant, 'is not a valid tenant'),
  vehicle: z.string(),
  /** Of all files, bytes. */
  bytes: z.int().min(0),
  /** ISO 8601, UTC. */
  at: z.iso.datetime(),
});

/** The tenant and vehicle that pushed a package, and when. */
export type Origin = z.infer<typeof originSchema>;

/** Pushes of other tenants are in `also`, which is left out when there are none. */
const originsSchema = originSchema.extend({ also: z.array(originSchema).optional() }).transform((file): Origin[] => {
  const { also = [], ...first } = file;
  return [first, ...also];
});

/** A package that lies in the directory; nothing of it has been verified. */
export interface PushedEntry {
  readonly digest: string;
  /** An OCI image layout. */
  readonly path: string;
  /** One of each tenant that pushed it; an error where that cannot be read. */
  readonly origins: readonly Origin[] | KerbError;
}

/**
 * The directory of the packages that were pushed: `HEX/package`, an OCI image layout, and `HEX/origin.json`, for each
 * digest "sha256:HEX". One is there whole or not at all, and what is there is on the disk: it is written under a name
 * with a dot, synced and renamed. What a crash has left under such a name goes at the next start.
 */
export class PushedPackages {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** @throws KerbError BadConfig: the directory cannot be made, read or cleaned */
  async load(): Promise<PushedEntry[]> {
    const entries: PushedEntry[] = [];
    try {
      await mkdir(this.#dir, { recursive: true, mode: 0o700 });
      for (const name of await readdir(this.#dir)) if (name.startsWith('.')) await this.#tidy(name);
      for (const name of (await readdir(this.#dir)).sort()) {
        if (!ENTRY.test(name)) continue;
        const digest = `sha256:${name}`;
        entries.push({ digest, path: this.#packageOf(digest), origins: await this.#originsOf(digest) });
      }
    } catch (cause) {
      throw new KerbError(
        ErrorCode.BadConfig,
        `cannot keep pushed packages in ${this.#dir}: ${messageOf(cause)}; choose another state directory`,
        { dir: this.#dir },
        { cause },
      );
    }
    return entries;
  }

  /** Room for a package that is to come. */
  async begin(files: readonly FileOffer[]): Promise<IncomingPackage> {
    const dir = join(this.#dir, `.incoming-${randomBytes(8).toString('hex')}`);
    await mkdir(join(dir, PACKAGE_DIR, 'blobs', 'sha256'), { recursive: true, mode: 0o700 });
    return new IncomingPackage(dir, files);
  }

  /** From here on it is there, in the place of one that was, also after a power cut. Gives the path of its layout. */
  async keep(incoming: IncomingPackage, digest: string, origins: readonly Origin[]): Promise<string> {
    await incoming.seal(origins);
    const target = join(this.#dir, hexOf(digest));
    const replaced = join(this.#dir, `${REPLACED}${hexOf(digest)}`);
    await renameIfThere(target, replaced);
    await rename(incoming.dir, target).catch(async (error: unknown) => {
      await renameIfThere(replaced, target);
      throw error;
    });
    await syncToDisk(this.#dir);
    await rm(replaced, { recursive: true, force: true });
    return this.#packageOf(digest);
  }

  /** All of these files are in it. Those with a digest in their name are the same then. */
  async holds(digest: string, files: readonly FileOffer[]): Promise<boolean> {
    for (const { path } of files) if (!(await exists(join(this.#packageOf(digest), path)))) return false;
    return true;
  }

  /** Others than before have pushed it: at least one has. */
  async setOrigins(digest: string, origins: readonly Origin[]): Promise<void> {
    await writeOrigins(join(this.#dir, hexOf(digest)), origins);
  }

  async remove(digest: string): Promise<void> {
    const gone = join(this.#dir, `.removed-${randomBytes(8).toString('hex')}`);
    if (!(await renameIfThere(join(this.#dir, hexOf(digest)), gone))) return;
    await syncToDisk(this.#dir);
    await rm(gone, { recursive: true, force: true });
  }

  /**
   * Removes an entry that a crash has left. The old package is put back when the crash came between taking it away and
   * putting the new one there.
   */
  async #tidy(name: string): Promise<void> {
    const path = join(this.#dir, name);
    const entry = name.slice(REPLACED.length);
    const isLast = name.startsWith(REPLACED) && ENTRY.test(entry) && !(await exists(join(this.#dir, entry)));
    if (isLast) await rename(path, join(this.#dir, entry));
    else await rm(path, { recursive: true, force: true });
  }

  #packageOf(digest: string): string {
    return join(this.#dir, hexOf(digest), PACKAGE_DIR);
  }

  async #originsOf(digest: string): Promise<Origin[] | KerbError> {
    const path = join(this.#dir, hexOf(digest), ORIGIN_FILE);
    try {
      return originsSchema.parse(JSON.parse(await readFile(path, 'utf8')));
    } catch (cause) {
      const message = `who has pushed it is not known, ${path} cannot be read: ${messageOf(cause)}; push it again`;
      return new KerbError(ErrorCode.BadTaskPackage, message.replaceAll('\n', ' '), { path }, { cause });
    }
  }
}

/** The files of one push on their way to the disk, in the order in which they were announced. */
export class IncomingPackage {
  readonly dir: string;
  readonly files: readonly FileOffer[];
  #next = 0;
  /** Bytes of the file at `#next` that are written. */
  #written = 0;
  #open: FileHandle | undefined;

  constructor(dir: string, files: readonly FileOffer[]) {
    this.dir = dir;
    this.files = files;
  }

  /** The OCI image layout in it. */
  get packageDir(): string {
    return join(this.dir, PACKAGE_DIR);
  }

  /** Writes what follows, which may end one file and begin others. True when that was all of the last one. */
  async write(data: Uint8Array): Promise<boolean> {
    let rest = data;
    for (let file = this.files[this.#next]; file !== undefined; file = this.files[this.#next]) {
      if (rest.length === 0 && this.#written < file.size) return false;
      this.#open ??= await open(join(this.packageDir, file.path), 'wx', 0o600);
      const part = rest.subarray(0, file.size - this.#written);
      await this.#open.writeFile(part);
      this.#written += part.length;
      rest = rest.subarray(part.length);
      if (this.#written < file.size) return false;
      await this.#open.sync();
      await this.#close();
      this.#next++;
      this.#written = 0;
    }
    return true;
  }

  /** All is there, and may be kept. */
  async seal(origins: readonly Origin[]): Promise<void> {
    await writeOrigins(this.dir, origins);
    const blobs = join(this.packageDir, 'blobs', 'sha256');
    for (const dir of [blobs, dirname(blobs), this.packageDir, this.dir]) await syncToDisk(dir);
  }

  /** Takes back what is there; does no harm after it was kept. */
  async discard(): Promise<void> {
    await this.#close();
    await rm(this.dir, { recursive: true, force: true });
  }

  async #close(): Promise<void> {
    const file = this.#open;
    this.#open = undefined;
    await file?.close();
  }
}

async function writeOrigins(dir: string, [first, ...also]: readonly Origin[]): Promise<void> {
  const file = { ...first, ...(also.length === 0 ? {} : { also }) };
  await writeFileAtomically(join(dir, ORIGIN_FILE), JSON.stringify(file), { mode: 0o600 });
}

/** False: there is nothing under that name. */
async function renameIfThere(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    throw error;
  }
}

function hexOf(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1);
}

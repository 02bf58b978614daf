import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../../shared/base/errors.ts';

/**
 * Files for outputs that are too large for the database. Only for the thread that writes results: everything here blocks.
 * A file has its name only when all of it is on the disk.
 */
export class BodyFiles {
  readonly #folder: string;
  /** Names that could not be removed. */
  readonly #left = new Set<string>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  start(): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
  }

  /** @returns the name of the file; it survives a power cut after `sync`. @throws errors of the file system; then nothing is left */
  write(bytes: Uint8Array): string {
    const name = randomBytes(16).toString('hex');
    const temporary = join(this.#folder, `.${name}`);
    try {
      const file = openSync(temporary, 'wx', 0o600);
      try {
        for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, join(this.#folder, name));
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
    return name;
  }

  /** Returns when the names of all files are on the disk. */
  sync(): void {
    const folder = openSync(this.#folder, 'r');
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  }

  /** @throws errors of the file system */
  read(name: string): Uint8Array {
    return readFileSync(join(this.#folder, name));
  }

  /** Bytes; undefined: there is no such file. */
  sizeOf(name: string): number | undefined {
    return statSync(join(this.#folder, name), { throwIfNoEntry: false })?.size;
  }

  /** One that cannot be removed is an orphan, which the next start or `removeLeft` removes. */
  remove(names: Iterable<string>): void {
    for (const name of names) {
      try {
        rmSync(join(this.#folder, name), { force: true });
        this.#left.delete(name);
      } catch (error) {
        if (!isErrno(error)) throw error;
        this.#left.add(name);
      }
    }
  }

  /** Tries again what could not be removed. @returns whether nothing is left of it */
  removeLeft(): boolean {
    this.remove([...this.#left]);
    return this.#left.size === 0;
  }

  /** Removes what a broker that was killed left behind. */
  removeOrphans(known: ReadonlySet<string>): void {
    this.remove(readdirSync(this.#folder).filter((name) => !known.has(name)));
  }
}

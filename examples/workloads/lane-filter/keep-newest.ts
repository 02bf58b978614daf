import { readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A folder of numbered files that keeps the newest ones. */
export class KeepNewest {
  readonly #folder: string;
  readonly #extension: string;
  readonly #count: number;
  #names: string[] = [];
  #next = 0;

  constructor(folder: string, extension: string, count: number) {
    this.#folder = folder;
    this.#extension = extension;
    this.#count = count;
  }

  /** Finds what an earlier run left, and goes on after it. */
  async open(): Promise<void> {
    const entries = await readdir(this.#folder);
    const isOurs = new RegExp(`^\\d{8}\\.${this.#extension}$`);
    this.#names = entries.filter((entry) => isOurs.test(entry)).sort();
    this.#next = this.#names.length === 0 ? 0 : Number.parseInt(this.#names.at(-1)!, 10) + 1;
    for (const entry of entries) if (entry.endsWith('.part')) await rm(join(this.#folder, entry), { force: true });
  }

  /** Stores one more file, whole or not at all, and removes what is too old. Returns its name. */
  async add(bytes: Uint8Array): Promise<string> {
    const name = `${String(this.#next++ % 100_000_000).padStart(8, '0')}.${this.#extension}`;
    const part = join(this.#folder, `${name}.part`);
    try {
      await writeFile(part, bytes);
      await rename(part, join(this.#folder, name));
    } catch (error) {
      await rm(part, { force: true }); // a disk that is full gets its space back
      throw error;
    }
    this.#names.push(name);
    while (this.#names.length > this.#count) await rm(join(this.#folder, this.#names.shift()!), { force: true });
    return name;
  }
}

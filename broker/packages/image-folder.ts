import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { writeFileAtomically } from '../../shared/host/atomic-write.ts';
import { hostArchitecture } from '../../shared/task-package/architecture.ts';
import { digestOf } from '../../shared/task-package/format.ts';
import { imageFor, readImage, type TaskPackage } from '../../shared/task-package/reader.ts';

/** The folder of verified images for the tenders; only this process may write there. */
export class ImageFolder {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Makes the folder, and removes images of other packages than these. @throws KerbError BadConfig */
  async tidy(packages: readonly TaskPackage[]): Promise<void> {
    const dir = this.#dir;
    try {
      await mkdir(dir, { recursive: true, mode: 0o700 });
      const used = new Set(packages.map(nameOf));
      for (const name of await readdir(dir)) {
        if (!used.has(name)) await rm(join(dir, name), { force: true });
      }
    } catch (cause) {
      throw new KerbError(
        ErrorCode.BadConfig,
        `cannot keep images in ${dir}: ${messageOf(cause)}; choose another state directory`,
        { imagesDir: dir },
        { cause },
      );
    }
  }

  /**
   * A file with the image for this machine, for a tender to load. The bytes that were hashed are the bytes in that
   * file: whoever can write to the packages directory cannot exchange them in between. Once it is there, the package
   * itself may go: what was announced can be run until the broker stops.
   * @throws KerbError TaskPackageDigestMismatch | BadTaskPackage | WrongArchitecture
   */
  async file(taskPackage: TaskPackage): Promise<string> {
    const path = join(this.#dir, nameOf(taskPackage));
    const kept = await readFile(path).catch(() => undefined);
    if (kept !== undefined && digestOf(kept) === imageFor(taskPackage, ownArchitecture()).digest) return path;
    const bytes = await readImage(taskPackage, ownArchitecture());
    // A power cut may take it: the next start finds that its digest is wrong.
    await writeFileAtomically(path, bytes, { mode: 0o400, durable: false });
    return path;
  }

  /** The image goes unless one of the others has it too. */
  async remove(taskPackage: TaskPackage, others: readonly TaskPackage[]): Promise<void> {
    const name = nameOf(taskPackage);
    if (others.some((other) => nameOf(other) === name)) return;
    await rm(join(this.#dir, name), { force: true });
  }
}

export function ownArchitecture(): string {
  return hostArchitecture() ?? process.arch;
}

function nameOf(taskPackage: TaskPackage): string {
  return `${imageFor(taskPackage, ownArchitecture()).digest.replace(':', '-')}.elf`;
}

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/errors.ts';
import { hostArchitecture } from '../../shared/task-package/architecture.ts';
import { digestOf, type TaskConfig } from '../../shared/task-package/format.ts';
import { imageFor, readImage, readTaskPackage, type TaskPackage } from '../../shared/task-package/reader.ts';
import { verifyTaskPackage } from '../../shared/task-package/signature.ts';
import type { TrustedKeys } from '../../shared/task-package/signer.ts';

export interface RejectedPackage {
  readonly path: string;
  readonly error: KerbError;
}

export interface PackageStoreOptions {
  /** Directory of OCI image layouts. Names that start with a dot are left alone. */
  readonly packagesDir: string;
  /** Where verified images are put for the tenders; nobody else may write there. */
  readonly imagesDir: string;
  /** What the tenders of this broker can do. */
  readonly isolations: readonly string[];
  /** Bytes that one tender may take. */
  readonly maxMemory: number;
  /** Whose packages are run; undefined: everybody's, also unsigned ones. */
  readonly trusted: TrustedKeys | undefined;
}

/** Bytes that one tender may come to hold, as its package declares: the guest's memory, its input and its output. */
export function declaredMemory({ memory, maxInput, maxOutput }: TaskConfig): number {
  return memory + maxInput + maxOutput;
}

/** The task packages of a broker, by digest. Nothing is used that was not verified. */
export class PackageStore {
  readonly #options: PackageStoreOptions;
  readonly #packages = new Map<string, TaskPackage>();
  readonly #rejected: RejectedPackage[] = [];

  constructor(options: PackageStoreOptions) {
    this.#options = options;
  }

  get packages(): readonly TaskPackage[] {
    return [...this.#packages.values()];
  }

  /** What was found and cannot be used. */
  get rejected(): readonly RejectedPackage[] {
    return this.#rejected;
  }

  /**
   * Reads and verifies every package of the directory. A bad one is listed in `rejected` and does not stop the others.
   * @throws KerbError BadConfig when the directory cannot be read, or that of the images cannot be written
   */
  async load(): Promise<void> {
    const { packagesDir, imagesDir } = this.#options;
    const entries = await readdir(packagesDir).catch((error: unknown) => {
      throw new KerbError(
        ErrorCode.BadConfig,
        `cannot read the packages directory ${packagesDir}: ${messageOf(error)}; \`kerb task build\` fills one`,
        { packagesDir },
        { cause: error },
      );
    });
    for (const name of entries.sort()) {
      if (name.startsWith('.')) continue;
      const path = join(packagesDir, name);
      try {
        const found = await readTaskPackage(path);
        if (this.#options.trusted !== undefined) await verifyTaskPackage(found, this.#options.trusted);
        imageFor(found, architecture());
        this.#checkUsable(found);
        // The same package twice is the same package.
        if (!this.#packages.has(found.digest)) this.#packages.set(found.digest, found);
      } catch (error) {
        if (!isKerbError(error)) throw error;
        this.#rejected.push({ path, error });
      }
    }
    try {
      await mkdir(imagesDir, { recursive: true, mode: 0o700 });
      const used = new Set(this.packages.map(imageFileName));
      for (const name of await readdir(imagesDir)) {
        if (!used.has(name)) await rm(join(imagesDir, name), { force: true });
      }
    } catch (cause) {
      throw new KerbError(
        ErrorCode.BadConfig,
        `cannot keep images in ${imagesDir}: ${messageOf(cause)}; choose another state directory`,
        { imagesDir },
        { cause },
      );
    }
  }

  /**
   * A file with the image for this machine, for a tender to load. The bytes that were hashed are the bytes in that file:
   * whoever can write to the packages directory cannot exchange them in between. Once it is there, the package itself may
   * go: what was announced can be run until the broker stops.
   * @throws KerbError TaskPackageDigestMismatch | BadTaskPackage | WrongArchitecture
   */
  async imageFile(taskPackage: TaskPackage): Promise<string> {
    const path = join(this.#options.imagesDir, imageFileName(taskPackage));
    const kept = await readFile(path).catch(() => undefined);
    if (kept !== undefined && digestOf(kept) === imageFor(taskPackage, architecture()).digest) return path;
    const bytes = await readImage(taskPackage, architecture());
    const temporary = `${path}.${randomBytes(6).toString('hex')}`;
    try {
      await writeFile(temporary, bytes, { mode: 0o400, flag: 'wx' });
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    return path;
  }

  #checkUsable({ dir, config }: TaskPackage): void {
    const { isolations, maxMemory } = this.#options;
    const needed = declaredMemory(config);
    if (needed > maxMemory) {
      throw new KerbError(
        ErrorCode.TenderUnavailable,
        `task ${config.name} ${config.version} may take ${needed} bytes of memory; the tenders of this broker may take ${maxMemory} (--tender-memory)`,
        { dir, needed, maxMemory },
      );
    }
    if (config.isolation === 'any' || isolations.includes(config.isolation)) return;
    throw new KerbError(
      ErrorCode.TenderUnavailable,
      `task ${config.name} ${config.version} demands isolation ${config.isolation}; this broker has ${isolations.join(', ')}`,
      { dir, isolation: config.isolation },
    );
  }
}

function architecture(): string {
  return hostArchitecture() ?? process.arch;
}

function imageFileName(taskPackage: TaskPackage): string {
  return `${imageFor(taskPackage, architecture()).digest.replace(':', '-')}.elf`;
}

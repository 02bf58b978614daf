import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { writeFileAtomically } from '../../shared/host/atomic-write.ts';
import { readFault } from '../../shared/host/read-fault.ts';
import { hostArchitecture } from '../../shared/task-package/architecture.ts';
import { digestOf, type TaskConfig } from '../../shared/task-package/format.ts';
import { imageFor, readImage, readTaskPackage, type TaskPackage } from '../../shared/task-package/reader.ts';
import { verifyTaskPackage } from '../../shared/task-package/signature.ts';
import type { TrustedKeys } from '../../shared/task-package/signer.ts';
import type { Origin, PushedPackages } from './pushed-packages.ts';

export interface RejectedPackage {
  readonly path: string;
  /** Under which it was pushed; undefined for what lies in the packages directory. */
  readonly digest?: string | undefined;
  readonly error: KerbError;
}

export interface PackageStoreOptions {
  /** Directory of OCI image layouts. Names that start with a dot are left alone. */
  readonly packagesDir: string;
  /** Packages that were pushed while the broker ran. */
  readonly pushed: PushedPackages;
  /** The folder of verified images for the tenders; only this process may write there. */
  readonly imagesDir: string;
  /** The isolations and memory that the tenders of this broker offer. */
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
  readonly #origins = new Map<string, Origin>();
  #rejected: readonly RejectedPackage[] = [];

  constructor(options: PackageStoreOptions) {
    this.#options = options;
  }

  get packages(): readonly TaskPackage[] {
    return [...this.#packages.values()];
  }

  has(digest: string): boolean {
    return this.#packages.has(digest);
  }

  /** The tenant that pushed it; undefined for a package in the packages directory. */
  originOf(digest: string): Origin | undefined {
    return this.#origins.get(digest);
  }

  /** Of all that was pushed, by digest; also of what was rejected when the broker started. */
  get origins(): ReadonlyMap<string, Origin> {
    return this.#origins;
  }

  /** Packages that were found and cannot be used. */
  get rejected(): readonly RejectedPackage[] {
    return this.#rejected;
  }

  /**
   * Reads and verifies every package, those that were pushed too. A bad one is listed in `rejected` and does not stop
   * the others.
   * @throws KerbError BadConfig when a directory cannot be read, or that of the images cannot be written
   */
  async load(): Promise<void> {
    const { packagesDir, imagesDir, pushed } = this.#options;
    const entries = await readdir(packagesDir).catch((error: unknown) => {
      throw new KerbError(
        ErrorCode.BadConfig,
        `cannot read the packages directory ${packagesDir}: ${readFault(error)}; \`kerb task build\` fills one`,
        { packagesDir },
        { cause: error },
      );
    });
    for (const name of entries.sort()) {
      if (name.startsWith('.')) continue;
      await this.#load(join(packagesDir, name));
    }
    for (const { digest, path, origin } of await pushed.load()) {
      if (isKerbError(origin)) this.#reject({ path, digest, error: origin });
      else await this.#load(path, digest, origin);
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
   * Reads and verifies all of a package: what has passed may be run here.
   * @throws KerbError as readTaskPackage and verifyTaskPackage; WrongArchitecture, TenderUnavailable: it is good, but
   * not here
   */
  async verify(path: string): Promise<TaskPackage> {
    const found = await readTaskPackage(path);
    if (this.#options.trusted !== undefined) await verifyTaskPackage(found, this.#options.trusted);
    imageFor(found, architecture());
    this.#checkUsable(found);
    return found;
  }

  /** Takes in a package that was pushed and has passed `verify`, in the place of itself if it was there. */
  put(found: TaskPackage, origin: Origin): void {
    this.#forgetRejected(found.digest);
    this.#packages.set(found.digest, found);
    this.#origins.set(found.digest, origin);
  }

  /** It is not to be used again. Tenders that have its image open keep that. */
  async remove(digest: string): Promise<void> {
    this.#forgetRejected(digest);
    this.#origins.delete(digest);
    const found = this.#packages.get(digest);
    if (found === undefined) return;
    this.#packages.delete(digest);
    const image = imageFileName(found);
    if (this.packages.some((other) => imageFileName(other) === image)) return;
    await rm(join(this.#options.imagesDir, image), { force: true });
  }

  /**
   * A file with the image for this machine, for a tender to load. The bytes that were hashed are the bytes in that
   * file: whoever can write to the packages directory cannot exchange them in between. Once it is there, the package
   * itself may go: what was announced can be run until the broker stops.
   * @throws KerbError TaskPackageDigestMismatch | BadTaskPackage | WrongArchitecture
   */
  async imageFile(taskPackage: TaskPackage): Promise<string> {
    const path = join(this.#options.imagesDir, imageFileName(taskPackage));
    const kept = await readFile(path).catch(() => undefined);
    if (kept !== undefined && digestOf(kept) === imageFor(taskPackage, architecture()).digest) return path;
    const bytes = await readImage(taskPackage, architecture());
    // A power cut may take it: the next start finds that its digest is wrong.
    await writeFileAtomically(path, bytes, { mode: 0o400, durable: false });
    return path;
  }

  async #load(path: string, digest?: string, origin?: Origin): Promise<void> {
    try {
      const found = await this.verify(path);
      if (digest !== undefined && found.digest !== digest) throw isAnother(path, digest, found.digest);
      // The same package twice is the same package.
      if (this.#packages.has(found.digest)) return;
      this.#packages.set(found.digest, found);
      if (origin !== undefined) this.#origins.set(found.digest, origin);
    } catch (error) {
      if (!isKerbError(error)) throw error;
      this.#reject({ path, digest, error });
      // It takes room all the same, and may be removed or pushed again by whose it is.
      if (digest !== undefined && origin !== undefined) this.#origins.set(digest, origin);
    }
  }

  #reject(rejected: RejectedPackage): void {
    this.#rejected = [...this.#rejected, rejected];
  }

  #forgetRejected(digest: string): void {
    this.#rejected = this.#rejected.filter((rejected) => rejected.digest !== digest);
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

/** The package at `path` is whole, and not the one that it is said to be. */
export function isAnother(path: string, expected: string, actual: string): KerbError {
  return new KerbError(
    ErrorCode.TaskPackageDigestMismatch,
    `${path} is the package ${actual}, not ${expected}; push it again`,
    { path, expected, actual },
  );
}

function architecture(): string {
  return hostArchitecture() ?? process.arch;
}

function imageFileName(taskPackage: TaskPackage): string {
  return `${imageFor(taskPackage, architecture()).digest.replace(':', '-')}.elf`;
}

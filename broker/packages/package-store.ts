import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import { readFault } from '../../shared/host/read-fault.ts';
import { imageFor, readTaskPackage, type TaskPackage } from '../../shared/task-package/reader.ts';
import { mergeSignatures, type TrustedSignature, trustedSignatures } from '../../shared/task-package/signature.ts';
import type { TrustedKeys } from '../../shared/task-package/signer.ts';
import { faultOf } from '../tenants/package-rules.ts';
import type { Policy } from '../tenants/policy.ts';
import { ImageFolder, ownArchitecture } from './image-folder.ts';
import type { IncomingPackage, Origin, PushedPackages } from './pushed-packages.ts';
import { StoredPackage } from './stored-package.ts';
import { checkUsable } from './usable.ts';
import type { VersionFloors } from './version-floors.ts';

export interface RejectedPackage {
  readonly path: string;
  /** Under which it was pushed; undefined for what lies in the packages directory. */
  readonly digest?: string | undefined;
  readonly error: KerbError;
  /** The pushes that it came with. */
  readonly origins?: readonly Origin[];
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
  /** Undefined: no policy but that of the signatures. */
  readonly rules?: StoreRules;
}

export interface StoreRules {
  /** As it is now. */
  readonly policy: Policy;
  readonly floors: VersionFloors;
}

/** Packages that are run from now on, or no longer. */
export interface StoreChanges {
  readonly restored: readonly TaskPackage[];
  readonly withdrawn: readonly StoredPackage[];
  /** Something is seen or run by other tenants than before. */
  readonly isChanged: boolean;
}

/**
 * The task packages of a broker, by digest. Nothing is used that was not verified, or that the policy does not let be run.
 */
export class PackageStore {
  readonly #options: PackageStoreOptions;
  readonly #images: ImageFolder;
  readonly #stored = new Map<string, StoredPackage>();
  #rejected: readonly RejectedPackage[] = [];

  constructor(options: PackageStoreOptions) {
    this.#options = options;
    this.#images = new ImageFolder(options.imagesDir);
  }

  /** Those that are run. */
  get packages(): readonly TaskPackage[] {
    return [...this.#stored.values()].filter(({ fault }) => fault === undefined).map((one) => one.taskPackage);
  }

  /** Verified, whether it is run now or not. */
  get(digest: string): StoredPackage | undefined {
    return this.#stored.get(digest);
  }

  get stored(): Iterable<StoredPackage> {
    return this.#stored.values();
  }

  /** The pushes of all that was pushed; also of what was rejected when the broker started. */
  *pushes(): Iterable<Origin & { readonly digest: string }> {
    for (const { digest, origins } of this.#stored.values()) for (const one of origins) yield { digest, ...one };
    for (const { digest, origins } of this.#rejected) {
      if (digest !== undefined) for (const one of origins ?? []) yield { digest, ...one };
    }
  }

  /** The pushes of one package, likewise; empty: none, or it is the operator's. */
  originsOf(digest: string): readonly Origin[] {
    const rejected = this.#rejected.find((one) => one.digest === digest);
    return this.#stored.get(digest)?.origins ?? rejected?.origins ?? [];
  }

  /** Packages that were found and cannot be used. */
  get rejected(): readonly RejectedPackage[] {
    const withdrawn = [...this.#stored.values()].flatMap(({ digest, taskPackage, fault }) =>
      fault === undefined ? [] : [{ path: taskPackage.dir, digest, error: fault }],
    );
    return [...this.#rejected, ...withdrawn];
  }

  /**
   * Reads and verifies every package, those that were pushed too. A bad one is listed in `rejected` and does not stop
   * the others.
   * @throws KerbError BadConfig when a directory cannot be read, or that of the images cannot be written
   */
  async load(): Promise<void> {
    const { packagesDir, pushed } = this.#options;
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
    for (const { digest, path, origins } of await pushed.load()) {
      if (isKerbError(origins)) this.#reject({ path, digest, error: origins });
      else await this.#load(path, digest, origins);
    }
    await this.review();
    await this.#images.tidy([...this.#stored.values()].map(({ taskPackage }) => taskPackage));
  }

  /**
   * Reads and verifies all of a package: what has passed may be run here, if the policy lets it.
   * @throws KerbError as readTaskPackage and verifyTaskPackage; WrongArchitecture, TenderUnavailable: it is good, but
   * not here
   */
  async verify(path: string, origins: readonly Origin[] = []): Promise<StoredPackage> {
    const found = await readTaskPackage(path);
    const signatures = await this.#signaturesOf(found);
    imageFor(found, ownArchitecture());
    checkUsable(found, this.#options);
    return new StoredPackage(found, signatures, origins);
  }

  /**
   * Holds a package that is being pushed against the policy, for the tenant that pushes it.
   * @throws KerbError TaskRevoked | TaskSignerUnknown | TaskSignatureExpired | PushQuotaSpent
   */
  async checkPolicy(found: StoredPackage, tenant: string): Promise<void> {
    const fault = faultOf(this.#policy, found, tenant, Date.now());
    if (fault !== undefined) throw fault;
    const [older] = await this.#tooLow(tenant, [found]);
    if (older !== undefined) throw older;
  }

  /**
   * Takes in a package that was pushed and has passed `verify`, in the place of itself if it was there. What other tenants
   * need of that one, their signatures, stays. @returns the package as it is now on the disk
   */
  async keep(found: StoredPackage, incoming: IncomingPackage): Promise<TaskPackage> {
    const { pushed, trusted } = this.#options;
    const { digest, taskPackage, origins } = found;
    const before = this.#stored.get(digest);
    if (before !== undefined && origins.length > 1 && trusted !== undefined) {
      await mergeSignatures(taskPackage, before.taskPackage, trusted);
      found.signatures = await this.#signaturesOf(taskPackage);
    }
    const dir = await pushed.keep(incoming, digest, origins);
    return this.#put(new StoredPackage({ ...taskPackage, dir }, found.signatures, origins));
  }

  /** The tenant has let go of it. True: it was the last one, and the package is no longer on the disk. */
  async disown(digest: string, tenant: string): Promise<boolean> {
    const { pushed, rules } = this.#options;
    const rest = this.originsOf(digest).filter((one) => one.tenant !== tenant);
    if (rest.length === 0) await pushed.remove(digest);
    else await pushed.setOrigins(digest, rest);
    await rules?.floors.forget(tenant, digest);
    const found = this.#stored.get(digest);
    if (rest.length > 0 && found !== undefined) {
      this.#put(new StoredPackage(found.taskPackage, found.signatures, rest));
    } else if (rest.length > 0) {
      this.#rejected = this.#rejected.map((one) => (one.digest === digest ? { ...one, origins: rest } : one));
    }
    return rest.length === 0;
  }

  /**
   * Holds every package against the policy and the clock as they are now. Signatures of those that have expired are read
   * again, because they may have been renewed.
   * @throws KerbError StateDamaged | StateUnavailable: the versions that were here are not known
   */
  async review(now: number = Date.now()): Promise<StoreChanges> {
    const wasRun = new Set(this.packages.map(({ digest }) => digest));
    await this.#checkVersions();
    const rules = this.#policy;
    let isChanged = false;
    for (const one of this.#stored.values()) {
      one.judge(rules, now);
      if (isKerbError(one.fault, ErrorCode.TaskSignatureExpired)) {
        one.signatures = await this.#signaturesOf(one.taskPackage, now)?.catch(() => one.signatures);
      }
    }
    for (const one of this.#stored.values()) isChanged = one.judge(rules, now) || isChanged;
    const all = [...this.#stored.values()];
    return {
      restored: all.flatMap(({ digest, fault, taskPackage }) =>
        fault === undefined && !wasRun.has(digest) ? [taskPackage] : [],
      ),
      withdrawn: all.filter(({ digest, fault }) => fault !== undefined && wasRun.has(digest)),
      isChanged,
    };
  }

  /** It is not to be used again. Tenders that have its image open keep that. */
  async remove(digest: string): Promise<void> {
    this.#forgetRejected(digest);
    const found = this.#stored.get(digest)?.taskPackage;
    if (found === undefined) return;
    this.#stored.delete(digest);
    await this.#images.remove(
      found,
      [...this.#stored.values()].map(({ taskPackage }) => taskPackage),
    );
  }

  /** A file with the image for this machine. @throws as `ImageFolder.file` */
  imageFile(taskPackage: TaskPackage): Promise<string> {
    return this.#images.file(taskPackage);
  }

  async #load(path: string, digest?: string, origins: readonly Origin[] = []): Promise<void> {
    try {
      const found = await this.verify(path, origins);
      if (digest !== undefined && found.digest !== digest) throw isAnother(path, digest, found.digest);
      // The same package twice is the same package.
      if (!this.#stored.has(found.digest)) this.#stored.set(found.digest, found);
    } catch (error) {
      if (!isKerbError(error)) throw error;
      // One that was pushed takes room all the same, and may be removed or pushed again by its tenants.
      this.#reject({ path, digest, error, origins });
    }
  }

  #signaturesOf(found: TaskPackage, now?: number): Promise<TrustedSignature[]> | undefined {
    const { trusted } = this.#options;
    return trusted === undefined ? undefined : trustedSignatures(found, trusted, now);
  }

  /** Of each tenant's packages, those that are lower than what was here before. */
  async #checkVersions(): Promise<void> {
    const faults = new Map<StoredPackage, Map<string | undefined, KerbError>>();
    const all = [...this.#stored.values()];
    for (const tenant of new Set(all.flatMap(({ tenants }) => tenants))) {
      const own = all.filter(({ tenants }) => tenants.includes(tenant));
      for (const [i, fault] of (await this.#tooLow(tenant, own)).entries()) {
        const one = own[i]!;
        if (fault !== undefined) faults.set(one, new Map(faults.get(one)).set(tenant, fault));
      }
    }
    for (const one of this.#stored.values()) one.versionFaults = faults.get(one) ?? new Map();
  }

  get #policy(): Pick<Policy, 'signers' | 'revoked'> {
    return this.#options.rules?.policy ?? { signers: undefined, revoked: { keys: [], digests: [] } };
  }

  async #tooLow(tenant: string | undefined, packages: readonly StoredPackage[]): Promise<(KerbError | undefined)[]> {
    const { rules } = this.#options;
    return rules?.policy.versions === 'forward' ? await rules.floors.take(tenant, packages) : [];
  }

  #put(found: StoredPackage): TaskPackage {
    this.#forgetRejected(found.digest);
    this.#stored.set(found.digest, found);
    found.judge(this.#policy, Date.now());
    return found.taskPackage;
  }

  #reject(rejected: RejectedPackage): void {
    this.#rejected = [...this.#rejected, rejected];
  }

  #forgetRejected(digest: string): void {
    this.#rejected = this.#rejected.filter((rejected) => rejected.digest !== digest);
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

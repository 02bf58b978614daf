import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { type PackageFile, readDescription, type TaskPackage } from '../../shared/task-package/reader.ts';
import { compareVersions, fitsRange } from '../../shared/task-package/version-range.ts';

/** A task by its digest, or the newest of a name whose version fits. */
export type TaskQuery = { readonly digest: string } | { readonly name: string; readonly range: string };

/** All files of a package but its images: a caller needs them to judge the task by its own trust. */
export interface TaskDescription {
  readonly digest: string;
  readonly files: readonly PackageFile[];
}

/** Descriptions that are kept: they are small, and are asked for again by every vehicle that comes by. */
const MAX_KEPT = 64;

/** Describes the task packages of a broker to those who may see them. */
export class TaskDescriptions {
  readonly #packages: () => readonly TaskPackage[];
  readonly #kept = new Map<string, Promise<TaskDescription>>();

  /** @param packages that can be offloaded to now */
  constructor(packages: () => readonly TaskPackage[]) {
    this.#packages = packages;
  }

  /**
   * @param isVisible whether the caller may know of this package: what is not visible is not there
   * @throws KerbError UnknownPackage; PackageNotStored: its files are gone or damaged
   */
  async describe(query: TaskQuery, isVisible: (digest: string) => boolean): Promise<TaskDescription> {
    const fitting = this.#packages().filter(({ digest, config }) => {
      const isMeant =
        'digest' in query
          ? digest === query.digest
          : config.name === query.name && fitsRange(config.version, query.range);
      return isMeant && isVisible(digest);
    });
    // Of two with the same version the digest decides: all callers that may see both get the same answer.
    const [found] = fitting.sort(
      (a, b) => compareVersions(b.config.version, a.config.version) || (a.digest < b.digest ? -1 : 1),
    );
    if (found === undefined) throw unknownTask(query);
    return await this.#read(found);
  }

  #read(taskPackage: TaskPackage): Promise<TaskDescription> {
    const { digest } = taskPackage;
    const kept = this.#kept.get(digest);
    if (kept !== undefined) return kept;
    if (this.#kept.size >= MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    const reading = readDescription(taskPackage).then(
      (files) => ({ digest, files }),
      () => {
        this.#kept.delete(digest);
        // Why is between this broker and its disk.
        const { name, version } = taskPackage.config;
        throw new KerbError(
          ErrorCode.PackageNotStored,
          `this broker cannot read the package of ${name} ${version} any more`,
        );
      },
    );
    this.#kept.set(digest, reading);
    return reading;
  }
}

function unknownTask(query: TaskQuery): KerbError {
  const what = 'digest' in query ? query.digest : `task ${query.name}${query.range === '' ? '' : ` ${query.range}`}`;
  return new KerbError(
    ErrorCode.UnknownPackage,
    `this broker has no ${what} for you; its announcement lists what it has`,
  );
}

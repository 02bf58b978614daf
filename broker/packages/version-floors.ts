import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { VersionFloor } from '../../shared/api/broker.ts';
import { ErrorCode, isErrno, KerbError, messageOf } from '../../shared/base/errors.ts';
import { SerialQueue } from '../../shared/base/serial-queue.ts';
import { writeFileAtomically } from '../../shared/host/atomic-write.ts';
import { compareVersions } from '../../shared/task-package/version-order.ts';

/** In the state folder. */
export const VERSIONS_FILE = 'task-versions.json';

/** Names of tasks that are remembered of one tenant: it could fill the disk with them. */
const MAX_TASKS = 1000;
/** Packages of a task that are remembered as taken, the newest. */
const MAX_DIGESTS = 64;

const schema = z.array(
  z.strictObject({
    /** Empty: the operator. */
    tenant: z.string(),
    task: z.string(),
    version: z.string(),
    /** Taken before the version became what it is: they are not taken back. */
    digests: z.array(z.string()),
  }),
);
type Floor = z.infer<typeof schema>[number];

/** A package as far as its version counts. */
export interface VersionedPackage {
  readonly digest: string;
  readonly name: string;
  readonly version: string;
}

/**
 * The highest version of each task that a tenant ever had here, in a file of the state folder: an older package, whose
 * faults are known, is not taken in the place of a newer one. The file is read each time, so that an operator can change it
 * while the broker runs. It is small and written whole; a database would be no safer.
 */
export class VersionFloors {
  readonly #file: string;
  readonly #changes = new SerialQueue();

  constructor(file: string) {
    this.#file = file;
  }

  /**
   * Remembers packages that have come to be served, unless one is lower than what was there before.
   * @param tenant undefined: the operator
   * @returns for each of them why it is not taken, or undefined: KerbError TaskRevoked | PushQuotaSpent
   * @throws KerbError StateDamaged | StateUnavailable
   */
  take(tenant: string | undefined, packages: readonly VersionedPackage[]): Promise<(KerbError | undefined)[]> {
    return this.#changes.run(async () => {
      const floors = await this.#read();
      const faults = packages.map((one) => faultOf(floors, tenant ?? '', one));
      const taken = packages.filter((_, i) => faults[i] === undefined);
      let isChanged = false;
      for (const one of taken) isChanged = raise(floors, tenant ?? '', one) || isChanged;
      if (isChanged) await this.#write(floors);
      return faults;
    });
  }

  /** The tenant has let go of this package: it may be taken again only if no higher version was there. */
  forget(tenant: string | undefined, digest: string): Promise<void> {
    return this.#changes.run(async () => {
      const floors = await this.#read();
      let isChanged = false;
      for (const floor of floors) {
        if (floor.tenant !== (tenant ?? '') || !floor.digests.includes(digest)) continue;
        floor.digests = floor.digests.filter((one) => one !== digest);
        isChanged = true;
      }
      if (isChanged) await this.#write(floors);
    });
  }

  /** All of them, by tenant and task. @throws KerbError StateDamaged | StateUnavailable */
  list(): Promise<VersionFloor[]> {
    return this.#changes.run(async () => {
      const floors = (await this.#read()).map(({ tenant, task, version }) => ({ tenant, task, version }));
      return floors.sort((a, b) => compareText(a.tenant, b.tenant) || compareText(a.task, b.task));
    });
  }

  /**
   * What the operator wants: from now on this version and higher ones are taken, whatever was there before.
   * @param to undefined: any version
   * @returns the version that had to be reached; undefined: there was none, and nothing has changed
   * @throws KerbError StateDamaged | StateUnavailable
   */
  reset(tenant: string | undefined, task: string, to?: string): Promise<string | undefined> {
    return this.#changes.run(async () => {
      const floors = await this.#read();
      const found = floors.find((floor) => isOf(floor, tenant ?? '', task));
      if (found === undefined) return undefined;
      const rest = floors.filter((floor) => floor !== found);
      // Those that are there stay, and count no more, when it is lowered; when it is raised, they have to reach it.
      const digests = to !== undefined && compareVersions(to, found.version) < 0 ? found.digests : [];
      await this.#write(to === undefined ? rest : [...rest, { ...found, version: to, digests }]);
      return found.version;
    });
  }

  async #read(): Promise<Floor[]> {
    let text: string;
    try {
      text = await readFile(this.#file, 'utf8');
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return [];
      throw this.#error(ErrorCode.StateUnavailable, 'cannot be read', error);
    }
    try {
      return schema.parse(JSON.parse(text));
    } catch (error) {
      throw this.#error(ErrorCode.StateDamaged, 'is damaged; remove it to forget which versions were there', error);
    }
  }

  async #write(floors: readonly Floor[]): Promise<void> {
    try {
      await writeFileAtomically(this.#file, JSON.stringify(floors), { mode: 0o600 });
    } catch (error) {
      throw this.#error(ErrorCode.StateUnavailable, `cannot be written: ${messageOf(error)}`, error);
    }
  }

  #error(code: ErrorCode, what: string, cause: unknown): KerbError {
    return new KerbError(code, `the file of task versions ${this.#file} ${what}`, { file: this.#file }, { cause });
  }
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function isOf(floor: Floor, tenant: string, task: string): boolean {
  return floor.tenant === tenant && floor.task === task;
}

function faultOf(
  floors: readonly Floor[],
  tenant: string,
  { digest, name, version }: VersionedPackage,
): KerbError | undefined {
  const floor = floors.find((one) => isOf(one, tenant, name));
  if (floor === undefined) {
    if (floors.filter((one) => one.tenant === tenant).length < MAX_TASKS) return undefined;
    const message = `tenant ${tenant} has had ${MAX_TASKS} tasks of different names here, as many as this broker remembers the versions of`;
    return new KerbError(ErrorCode.PushQuotaSpent, message);
  }
  if (floor.digests.includes(digest) || compareVersions(version, floor.version) >= 0) return undefined;
  return new KerbError(
    ErrorCode.TaskRevoked,
    `task ${name} ${version} is older than ${floor.version}, which was here before; versions only go forward at this broker`,
    { digest },
  );
}

/** True when something is another. */
function raise(floors: Floor[], tenant: string, { digest, name, version }: VersionedPackage): boolean {
  const floor = floors.find((one) => isOf(one, tenant, name));
  if (floor === undefined) {
    floors.push({ tenant, task: name, version, digests: [digest] });
    return true;
  }
  // It has counted already; the operator may have lowered the version since.
  if (floor.digests.includes(digest)) return false;
  if (compareVersions(version, floor.version) > 0) floor.version = version;
  floor.digests = [...floor.digests, digest].slice(-MAX_DIGESTS);
  return true;
}

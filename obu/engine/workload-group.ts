/**
 * The control group that all containers of an OBU are in: what the machine keeps for the OBU holds for all of them
 * together, whatever each may have for itself. Here also is read what the kernel notes down about each.
 */
import { readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno, messageOf } from '../../shared/errors.ts';
import { parsePressure } from './pressure.ts';

/** The parts of the engine's `info` that say how it makes control groups. */
export interface CgroupInfo {
  readonly CgroupDriver?: string;
  readonly CgroupVersion?: string;
}

export interface GroupOptions {
  /** See Places. */
  readonly stateHash: string;
  readonly info: CgroupInfo;
  /** Bytes for all of them together. */
  readonly memory: number;
  /** Where the kernel's control groups are; undefined: not on this machine. */
  readonly root: string | undefined;
}

export class WorkloadGroup {
  readonly #options: GroupOptions;
  readonly #isSlice: boolean;
  readonly #isV2: boolean;
  readonly #folder: string;
  /** How often the group had run out of memory at the last look. */
  #runOut = 0;

  constructor(options: GroupOptions) {
    const { stateHash, info } = options;
    this.#options = options;
    this.#isSlice = info.CgroupDriver === 'systemd';
    this.#isV2 = info.CgroupVersion === '2';
    // Without "-", which in the name of a slice stands for "inside of".
    this.#folder = this.#isSlice ? `kerbside_${stateHash}.slice` : `kerbside-${stateHash}`;
  }

  /** For the engine, which makes it. */
  get parent(): string {
    return this.#isSlice ? this.#folder : `/${this.#folder}`;
  }

  /**
   * Sets the limit of the group, when the group is there and has another one: whoever manages it may have changed it.
   * @returns why that cannot be done; empty when it could
   */
  limit(): string {
    const { root, memory } = this.#options;
    if (root === undefined) return 'the engine is on another machine';
    const file = this.#file('memory', '', this.#isV2 ? 'memory.max' : 'memory.limit_in_bytes');
    try {
      // The kernel rounds to pages.
      const now = Number(readFileSync(file, 'utf8'));
      if (!(Math.abs(now - memory) < 65_536)) writeFileSync(file, String(memory));
      return '';
    } catch (error) {
      return isErrno(error, 'ENOENT') ? '' : messageOf(error); // not there: it has no containers yet
    }
  }

  /** How often a container has been refused another process or thread; 0 when the kernel does not say. */
  refusedProcesses(container: string): number {
    if (this.#options.root === undefined) return 0;
    const folder = this.#isSlice ? `docker-${container}.scope` : container;
    try {
      const events = readFileSync(this.#file('pids', folder, 'pids.events'), 'utf8');
      return Number(/^max (\d+)/m.exec(events)?.[1] ?? 0);
    } catch {
      return 0; // it has gone
    }
  }

  /**
   * Percent of the last ten seconds in which a workload waited for memory of the group (PSI, cgroup v2); 100 when the group
   * itself has run out since the last call. Undefined when the kernel says neither.
   */
  memoryPressure(): number | undefined {
    if (this.#options.root === undefined) return undefined;
    if (!this.#isV2) return /^under_oom 1$/m.test(this.#read('memory.oom_control')) ? 100 : undefined;
    // `.local`: a container that meets its own limit is its own affair.
    const runOut = Number(/^oom (\d+)/m.exec(this.#read('memory.events.local'))?.[1] ?? 0);
    const again = runOut > this.#runOut;
    this.#runOut = runOut;
    return again ? 100 : parsePressure(this.#read('memory.pressure'));
  }

  /** A file of the group; empty when it is not there. */
  #read(name: string): string {
    try {
      return readFileSync(this.#file('memory', '', name), 'utf8');
    } catch {
      return '';
    }
  }

  /** Removes the group when there is nothing in it; a slice is systemd's to remove. */
  remove(): void {
    const { root } = this.#options;
    if (root === undefined || this.#isSlice) return;
    const parents = this.#isV2 ? [root] : subfolders(root);
    for (const parent of parents) {
      try {
        rmdirSync(join(parent, this.#folder));
      } catch {
        // not there, or not empty: then it is in use
      }
    }
  }

  #file(controller: string, folder: string, name: string): string {
    return join(this.#options.root!, this.#isV2 ? '' : controller, this.#folder, folder, name);
  }
}

function subfolders(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

/**
 * The control group that all containers of an OBU are in: what the machine keeps for the OBU holds for all of them
 * together, whatever each may have for itself. Here also is read what the kernel notes down about each.
 */
import { readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno, messageOf } from '../../shared/base/errors.ts';
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
  /** The mount point of the kernel's control groups; undefined: not on this machine. */
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
    return Number(/^max (\d+)/m.exec(this.#readOf(container, 'pids', 'pids.events'))?.[1] ?? 0);
  }

  /** How many processes of a container the kernel has killed for want of memory; 0 when it does not say. */
  killedProcesses(container: string): number {
    const file = this.#isV2 ? 'memory.events' : 'memory.oom_control';
    return Number(/^oom_kill (\d+)/m.exec(this.#readOf(container, 'memory', file))?.[1] ?? 0);
  }

  /** Seconds of CPU time that a container has used; undefined when the kernel does not say. */
  cpuSeconds(container: string): number | undefined {
    if (this.#isV2) {
      const microseconds = /^usage_usec (\d+)/m.exec(this.#readOf(container, 'cpu', 'cpu.stat'))?.[1];
      return microseconds === undefined ? undefined : Number(microseconds) / 1e6;
    }
    const nanoseconds = this.#readOf(container, 'cpuacct', 'cpuacct.usage').trim();
    return nanoseconds === '' ? undefined : Number(nanoseconds) / 1e9;
  }

  /** A file of a container's group; empty when it is not there. */
  #readOf(container: string, controller: string, name: string): string {
    if (this.#options.root === undefined) return '';
    try {
      return readFileSync(
        this.#file(controller, this.#isSlice ? `docker-${container}.scope` : container, name),
        'utf8',
      );
    } catch {
      return ''; // it has gone
    }
  }

  /**
   * Percent of the last ten seconds in which a workload waited for memory of the group (PSI, cgroup v2); 100 when the
   * group itself has run out since the last call. Undefined when the kernel says neither.
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

  /**
   * Removes the groups in it that have no process: an engine that was killed has left them, and nobody else knows of
   * them. A slice is systemd's to tidy up. To be called when no container is being made.
   */
  sweep(): void {
    for (const folder of this.#folders()) for (const name of subfolders(folder)) removeGroup(join(folder, name));
  }

  /**
   * Removes the group, with what is left in it of containers; where there is a process in it, it is in use and stays.
   */
  remove(): void {
    for (const folder of this.#folders()) removeGroup(folder);
  }

  /** The group in every hierarchy. */
  #folders(): string[] {
    const { root } = this.#options;
    if (root === undefined || this.#isSlice) return [];
    const parents = this.#isV2 ? [root] : subfolders(root).map((name) => join(root, name));
    return parents.map((parent) => join(parent, this.#folder));
  }

  #file(controller: string, folder: string, name: string): string {
    return join(this.#options.root!, this.#isV2 ? '' : controller, this.#folder, folder, name);
  }
}

/** Names of the folders in it; none when it is not there. */
function subfolders(folder: string): string[] {
  try {
    const all = readdirSync(folder, { withFileTypes: true });
    return all.filter((one) => one.isDirectory() || one.isSymbolicLink()).map(({ name }) => name);
  } catch {
    return [];
  }
}

/** Removes a group and those in it, the innermost first. */
function removeGroup(folder: string): void {
  for (const name of subfolders(folder)) removeGroup(join(folder, name));
  try {
    rmdirSync(folder);
  } catch {
    // not there, or there is a process in it
  }
}

import { mkdir, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isErrno, messageOf } from '../../../shared/base/errors.ts';
import { exists, removeGroup, removeLeftovers, words, write } from './group-files.ts';
import { allSettings } from './group-limits.ts';
import { groupName, type Owner } from './group-name.ts';
import { CONTROLLERS, type Controller, type OwnGroup } from './hierarchies.ts';

/** Microseconds of a second: what Linux itself lets all real-time processes have of a processor, but for a little. */
const REAL_TIME_US = 900_000;

/** A group in which the tenders of this broker are, in one hierarchy. */
export interface Branch {
  readonly folder: string;
  readonly controllers: readonly Controller[];
  /** Each tender has a group of its own in it; else all are in this one. */
  readonly each: boolean;
}

/** All groups of tenders of one broker. */
export interface GroupTree {
  readonly version: 1 | 2;
  readonly branches: readonly Branch[];
  /** For the log: paths, and what cannot be limited. */
  readonly path: string;
  readonly notes: readonly string[];
  /** Groups of brokers that had ended, which were removed. */
  readonly leftovers: readonly string[];
  /** Removes all of it. */
  remove(): Promise<void>;
}

export interface TreeOptions {
  readonly owner: Owner;
  readonly maxTenders: number;
  readonly processors: number;
}

/** @throws errno errors, and Error with why no group can be made; what had been made is removed again */
export async function makeTree(own: OwnGroup, options: TreeOptions): Promise<GroupTree> {
  const undo: (() => Promise<unknown>)[] = [];
  const remove = async () => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step().catch(() => {});
  };
  try {
    const made = own.version === 2 ? await makeV2(own, options, undo) : await makeV1(own.folders, options, undo);
    const path = made.branches.map(({ folder }) => folder).join(' ');
    return { version: own.version, path, ...made, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

type Made = Pick<GroupTree, 'branches' | 'notes' | 'leftovers'>;
type Undo = (() => Promise<unknown>)[];

async function makeAll(version: 1 | 2, parent: string, controllers: readonly Controller[], options: TreeOptions) {
  const folder = join(parent, groupName('tenders', options.owner));
  await mkdir(folder);
  try {
    if (version === 2) for (const one of controllers) await write(folder, ['cgroup.subtree_control', `+${one}`]);
    for (const one of controllers) {
      const settings = allSettings(version, one, options.maxTenders, options.processors);
      for (const setting of settings) await write(folder, setting);
    }
    return folder;
  } catch (error) {
    await removeGroup(folder);
    throw error;
  }
}

async function makeV1(folders: ReadonlyMap<Controller, string>, options: TreeOptions, undo: Undo): Promise<Made> {
  const branches: Branch[] = [];
  const notes: string[] = [];
  const leftovers: string[] = [];
  let trouble: unknown;
  // Several controllers may share a hierarchy.
  for (const parent of new Set(folders.values())) {
    const controllers = [...folders.keys()].filter((one) => folders.get(one) === parent);
    leftovers.push(...(await removeLeftovers(parent, options.owner)));
    try {
      const folder = await makeAll(1, parent, controllers, options);
      undo.push(() => removeGroup(folder));
      const realTime = controllers.includes('cpu') && (await exists(join(folder, 'cpu.rt_runtime_us')));
      // If real-time is shared out among groups, a group for each tender would leave none of them enough.
      if (realTime) await write(folder, ['cpu.rt_runtime_us', String(REAL_TIME_US)]);
      branches.push({ folder, controllers, each: !realTime });
      if (realTime) notes.push('cpu: all tenders together, because this kernel shares out real-time (RT_GROUP_SCHED)');
    } catch (error) {
      trouble ??= error;
      notes.push(`${controllers.join(', ')}: ${messageOf(error)}`);
      const folder = join(parent, groupName('tenders', options.owner));
      await removeGroup(folder);
    }
  }
  if (branches.length === 0) throw trouble;
  return { branches, notes, leftovers };
}

/**
 * Processes may be in leaves only, but at the root of the hierarchy (cgroup v2, "no internal processes"). So a broker that is
 * alone in its group goes into one below it; one that is not needs the group above.
 */
async function makeV2(own: OwnGroup & { version: 2 }, options: TreeOptions, undo: Undo): Promise<Made> {
  const { folder, isRoot, mount } = own;
  // The root of a namespace looks like any other group; the root of all has no type.
  const places =
    isRoot && !(await exists(join(folder, 'cgroup.type')))
      ? [{ base: folder, moves: false }]
      : [{ base: folder, moves: true }, ...(folder === mount ? [] : [{ base: dirname(folder), moves: false }])];
  const leftovers: string[] = [];
  for (const { base } of places) leftovers.push(...(await removeLeftovers(base, options.owner)));
  let trouble: unknown;
  for (const { base, moves } of places) {
    const taken = undo.length;
    try {
      const controllers = await enable(base, moves, options.owner, undo);
      const all = await makeAll(2, base, controllers, options);
      undo.push(() => removeGroup(all));
      const lacking = CONTROLLERS.filter((one) => !controllers.includes(one));
      const notes = lacking.map((one) => `${one}: cannot be limited below ${base}`);
      return { branches: [{ folder: all, controllers, each: true }], notes, leftovers };
    } catch (error) {
      trouble ??= error;
      while (undo.length > taken) await undo.pop()!().catch(() => {});
    }
  }
  throw trouble;
}

/** Has the groups below `base` limited. @returns by which controllers */
async function enable(base: string, moves: boolean, owner: Owner, undo: Undo): Promise<Controller[]> {
  const offered = await words(base, 'cgroup.controllers');
  const wanted = CONTROLLERS.filter((one) => offered.includes(one));
  if (wanted.length === 0) throw new Error(`no controller of memory, pids and cpu is delegated to ${base}`);
  if (moves) await goBelow(base, owner, undo);
  const before = await words(base, 'cgroup.subtree_control');
  const enabled: Controller[] = [];
  let trouble: unknown;
  for (const one of wanted) {
    try {
      if (!before.includes(one)) {
        await write(base, ['cgroup.subtree_control', `+${one}`]);
        // In a group of its own all is as it was; at a place that others share, another broker may count on it by now.
        if (moves) undo.push(() => write(base, ['cgroup.subtree_control', `-${one}`]));
      }
      enabled.push(one);
    } catch (error) {
      trouble ??= error;
    }
  }
  if (enabled.length === 0) throw trouble;
  return enabled;
}

/** This process goes into a leaf below its own group, when it is alone there. */
async function goBelow(base: string, owner: Owner, undo: Undo): Promise<void> {
  const others = (await words(base, 'cgroup.procs')).filter((pid) => pid !== String(process.pid));
  if (others.length > 0) throw new Error(`${base} has ${others.length} other processes`);
  const leaf = join(base, groupName('broker', owner));
  await mkdir(leaf);
  undo.push(() => rmdir(leaf));
  await write(leaf, ['cgroup.procs', String(process.pid)]);
  undo.push(() => write(base, ['cgroup.procs', String(process.pid)]));
}

export function isDenied(error: unknown): boolean {
  return isErrno(error, 'EACCES') || isErrno(error, 'EPERM') || isErrno(error, 'EROFS');
}

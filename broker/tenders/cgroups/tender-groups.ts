import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, isErrno, KerbError, messageOf } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import { emptyGroup, removeGroup, write } from './group-files.ts';
import { BLANK_BYTES, memorySettings, tenderSettings } from './group-limits.ts';
import type { GroupTree } from './group-tree.ts';

/** Groups that wait for the next tender: making one costs less than a millisecond, but for whoever waits for a cold start. */
const MAX_FREE = 32;

/** The control group of one tender, with its guest. */
export interface TenderGroup {
  /** Puts a process into it, and what that will start. @throws KerbError CgroupsUnavailable when groups are required */
  join(pid: number): Promise<void>;
  /** After `join`. @param bytes for tender and guest together. @throws KerbError CgroupsUnavailable, as above */
  limitMemory(bytes: number): Promise<void>;
  /** The tender has ended: what is left in the group is ended, too, and the group is used again. */
  free(): void;
}

/** The control groups of all tenders of a broker. */
export class TenderGroups {
  readonly #tree: GroupTree;
  readonly #required: boolean;
  readonly #log: Logger;
  readonly #free: Slot[] = [];
  readonly #pending = new Set<Promise<void>>();
  #closed = false;
  #next = 1;
  /** The last group could not be used, and that has been logged. */
  #troubled = false;

  constructor(tree: GroupTree, required: boolean, log: Logger) {
    this.#tree = tree;
    this.#required = required;
    this.#log = log;
  }

  /** A group for one tender, which `join` makes. */
  take(): TenderGroup {
    const slot = this.#free.pop() ?? new Slot(this.#tree, String(this.#next++));
    let joined: Promise<void> = Promise.resolve();
    return {
      join: (pid) => {
        joined = this.#attempt(slot, () => slot.join(pid));
        return joined;
      },
      limitMemory: async (bytes) => {
        await joined;
        // Half in it, it would have as little as one without a task.
        if (slot.broken) await slot.limitMemory(bytes).catch(() => {});
        else await this.#attempt(slot, () => slot.limitMemory(bytes));
      },
      free: () => {
        const reclaimed = joined.catch(() => {}).then(() => this.#reclaim(slot));
        const pending = reclaimed.finally(() => this.#pending.delete(pending));
        this.#pending.add(pending);
      },
    };
  }

  /** When every tender has ended: removes all groups. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#pending);
    await this.#tree.remove();
  }

  async #attempt(slot: Slot, step: () => Promise<void>): Promise<void> {
    try {
      await step();
      this.#troubled = false;
    } catch (cause) {
      // The tender has ended before; that is told elsewhere.
      if (isErrno(cause, 'ESRCH')) return;
      slot.broken = true;
      const reason = `a tender cannot be put into its control group: ${messageOf(cause)}`;
      if (this.#required) throw new KerbError(ErrorCode.CgroupsUnavailable, reason, {}, { cause });
      if (!this.#troubled) this.#log.warn({ err: reason }, 'a tender runs without a control group');
      this.#troubled = true;
    }
  }

  async #reclaim(slot: Slot): Promise<void> {
    const empty = await slot.empty();
    if (empty && !slot.broken && !this.#closed && this.#free.length < MAX_FREE) this.#free.push(slot);
    else if (!this.#closed) await slot.remove();
  }
}

/** A group in each hierarchy. */
class Slot {
  readonly #tree: GroupTree;
  readonly #name: string;
  #made = false;
  broken = false;

  constructor(tree: GroupTree, name: string) {
    this.#tree = tree;
    this.#name = name;
  }

  async join(pid: number): Promise<void> {
    if (this.#made) await this.limitMemory(BLANK_BYTES);
    else await this.#make();
    for (const { folder, each } of this.#tree.branches) {
      await write(each ? join(folder, this.#name) : folder, ['cgroup.procs', String(pid)]);
    }
  }

  async limitMemory(bytes: number): Promise<void> {
    for (const { folder, controllers, each } of this.#tree.branches) {
      if (!each || !controllers.includes('memory')) continue;
      for (const setting of memorySettings(this.#tree.version, bytes)) await write(join(folder, this.#name), setting);
    }
  }

  /** Ends what is left in it. */
  async empty(): Promise<boolean> {
    const empty = await Promise.all(this.#folders().map(emptyGroup));
    return empty.every((one) => one);
  }

  async remove(): Promise<void> {
    await Promise.all(this.#folders().map(removeGroup));
  }

  async #make(): Promise<void> {
    for (const { folder, controllers, each } of this.#tree.branches) {
      if (!each) continue;
      const own = join(folder, this.#name);
      await mkdir(own);
      for (const controller of controllers) {
        for (const setting of tenderSettings(this.#tree.version, controller)) await write(own, setting);
      }
    }
    this.#made = true;
  }

  #folders(): string[] {
    return this.#tree.branches.filter(({ each }) => each).map(({ folder }) => join(folder, this.#name));
  }
}

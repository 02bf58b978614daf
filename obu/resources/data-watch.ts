import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { pause } from '../../shared/base/pause.ts';
import type { Workload } from '../manifest/workload.ts';
import { type DataUse, type HeldForData, heldForData } from '../planner/resources/data-limit.ts';
import { folderUse } from './folder-use.ts';

/** How often the folders are looked through, and the most of its time that this may take. */
const LOOK_MS = 5000;
const BUSY_SHARE = 0.05;
/** On a busy machine a look takes long without working much: it is not put off for longer than this. */
const LONGEST_REST_MS = 20_000;
/** How often it is asked what the disk has left; so much less is a reason to look at once. */
const ASK_MS = 500;
const HASTE_BYTES = 64 * 2 ** 20;
/** Files and folders of one workload: looking at each costs time. */
export const MAX_ENTRIES = 20_000;

export interface DataWatchParts {
  /** Folder that holds a folder per workload. */
  readonly data: string;
  readonly workloads: () => readonly Workload[];
  /** Bytes for workloads that name no limit. */
  readonly limit: number;
  /** Bytes of the disk. */
  readonly keepFree: number;
  /** Called when `held` is another one than before. */
  readonly onChange: () => void;
  readonly log: Logger;
}

/**
 * Looks at what the workloads keep in their /data. There is no quota that every file system has, so one that keeps too
 * much is found after a moment, and has to stop.
 */
export class DataWatch {
  readonly #parts: DataWatchParts;
  readonly #abort = new AbortController();
  #loop: Promise<void> | undefined;
  #uses: ReadonlyMap<string, DataUse> = new Map();
  #held: ReadonlyMap<string, HeldForData> = new Map();

  constructor(parts: DataWatchParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#loop;
  }

  /** By workload, why it may not run. */
  get held(): ReadonlyMap<string, string> {
    return new Map([...this.#held].map(([workload, { why }]) => [workload, why]));
  }

  /** Bytes in the /data of each workload, as they were last looked at. */
  get bytes(): ReadonlyMap<string, number> {
    return new Map([...this.#uses].map(([workload, { bytes }]) => [workload, bytes]));
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    let said = '';
    while (!signal.aborted) {
      const begunMs = performance.now();
      let free = Number.POSITIVE_INFINITY;
      try {
        free = await this.#look();
        said = '';
      } catch (error) {
        const why = messageOf(error);
        if (why !== said) this.#parts.log.warn({ reason: why }, 'cannot measure the /data folders of workloads');
        said = why;
      }
      const tookMs = performance.now() - begunMs;
      await this.#rest(Math.min(LONGEST_REST_MS, tookMs / BUSY_SHARE), free);
    }
  }

  /** Until it is time to look again, or the disk fills up quickly. @param leastMs to rest in any case */
  async #rest(leastMs: number, free: number): Promise<void> {
    const { signal } = this.#abort;
    const untilMs = performance.now() + Math.max(LOOK_MS, leastMs);
    const notBeforeMs = performance.now() + leastMs;
    while (!signal.aborted && performance.now() < untilMs) {
      await pause(ASK_MS, signal);
      const now = await this.#free().catch(() => free); // said by the next look
      if (performance.now() >= notBeforeMs && now < free - HASTE_BYTES) return;
    }
  }

  /** @returns bytes that are free */
  async #look(): Promise<number> {
    const { data, workloads, limit, keepFree } = this.#parts;
    const uses = new Map<string, DataUse>();
    for (const { name, dataLimit = limit } of workloads()) {
      if (this.#abort.signal.aborted) return Number.POSITIVE_INFINITY;
      const folder = join(data, name);
      const { bytes, entries } = await folderUse(folder, { bytes: dataLimit, entries: MAX_ENTRIES });
      const grown = bytes - (this.#uses.get(name)?.bytes ?? bytes);
      uses.set(name, { workload: name, folder, bytes, entries, grown, limit: dataLimit });
    }
    const free = await this.#free();
    const held = heldForData([...uses.values()], free, { entries: MAX_ENTRIES, keepFree }, this.#held);
    this.#uses = uses;
    const changed = JSON.stringify([...held.keys()]) !== JSON.stringify([...this.#held.keys()]);
    this.#held = held;
    if (changed) this.#parts.onChange();
    return free;
  }

  async #free(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#parts.data);
    return bavail * bsize;
  }
}

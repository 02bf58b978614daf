import { messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { freshMemory } from '../planner/restart.ts';
import type { Memory, ReconcilerStore } from '../planner/state.ts';

/** What the planner remembers, in the process and in the store: there it is before anything is done that depends on it. */
export class WorkloadMemory {
  readonly #store: ReconcilerStore;
  readonly #log: Logger;
  #memory: ReadonlyMap<string, Memory> = new Map();
  #saved = '';

  constructor(store: ReconcilerStore, log: Logger) {
    this.#store = store;
    this.#log = log;
  }

  load(): void {
    this.#memory = this.#store.load();
  }

  get all(): ReadonlyMap<string, Memory> {
    return this.#memory;
  }

  of(workload: string): Memory {
    return this.#memory.get(workload) ?? freshMemory;
  }

  replace(memory: ReadonlyMap<string, Memory>): void {
    this.#memory = memory;
    this.#save();
  }

  change(workload: string, change: (memory: Memory) => Memory): void {
    this.replace(new Map(this.#memory).set(workload, change(this.of(workload))));
  }

  /** Changes it unless it has been forgotten: the manifest does not name it any more. */
  changeKnown(workload: string, change: (memory: Memory) => Memory): void {
    if (this.#memory.has(workload)) this.change(workload, change);
  }

  /** A store that is full or broken is no reason to let workloads stand still: it is said, and tried again. */
  #save(): void {
    const text = JSON.stringify([...this.#memory]);
    if (text === this.#saved) return;
    try {
      this.#store.save(this.#memory);
      this.#saved = text;
    } catch (error) {
      this.#log.error(`what the planner remembers could not be saved: ${messageOf(error)}`);
    }
  }
}

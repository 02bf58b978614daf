import type { Memory, ReconcilerStore } from '../planner/state.ts';

/** Memory that ends with the process. */
export class MemoryStore implements ReconcilerStore {
  #memory: ReadonlyMap<string, Memory> = new Map();

  load(): ReadonlyMap<string, Memory> {
    return this.#memory;
  }

  save(memory: ReadonlyMap<string, Memory>): void {
    this.#memory = memory;
  }
}

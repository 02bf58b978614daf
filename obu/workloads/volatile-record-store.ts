import type { ReconcilerStore, WorkloadRecord } from '../planner/state.ts';

/** Memory that ends with the process. */
export class VolatileRecordStore implements ReconcilerStore {
  #records: ReadonlyMap<string, WorkloadRecord> = new Map();

  load(): ReadonlyMap<string, WorkloadRecord> {
    return this.#records;
  }

  save(records: ReadonlyMap<string, WorkloadRecord>): void {
    this.#records = records;
  }
}

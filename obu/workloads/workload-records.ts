import { messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { newRecord } from '../planner/restart.ts';
import type { ReconcilerStore, WorkloadRecord } from '../planner/state.ts';

/** What the planner remembers, in the process and in the store: there it is before anything is done that depends on it. */
export class WorkloadRecords {
  readonly #store: ReconcilerStore;
  readonly #log: Logger;
  #records: ReadonlyMap<string, WorkloadRecord> = new Map();
  #saved = '';

  constructor(store: ReconcilerStore, log: Logger) {
    this.#store = store;
    this.#log = log;
  }

  load(): void {
    this.#records = this.#store.load();
  }

  get all(): ReadonlyMap<string, WorkloadRecord> {
    return this.#records;
  }

  of(workload: string): WorkloadRecord {
    return this.#records.get(workload) ?? newRecord;
  }

  replace(records: ReadonlyMap<string, WorkloadRecord>): void {
    this.#records = records;
    this.#save();
  }

  change(workload: string, change: (memory: WorkloadRecord) => WorkloadRecord): void {
    this.replace(new Map(this.#records).set(workload, change(this.of(workload))));
  }

  /** Changes it unless it has been forgotten: the manifest does not name it any more. */
  changeKnown(workload: string, change: (memory: WorkloadRecord) => WorkloadRecord): void {
    if (this.#records.has(workload)) this.change(workload, change);
  }

  /** A store that is full or broken is no reason to let workloads stand still: it is said, and tried again. */
  #save(): void {
    const text = JSON.stringify([...this.#records]);
    if (text === this.#saved) return;
    try {
      this.#store.save(this.#records);
      this.#saved = text;
    } catch (error) {
      this.#log.error({ err: messageOf(error) }, 'cannot save the records of workloads');
    }
  }
}

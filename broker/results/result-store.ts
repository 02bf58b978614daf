import type { Logger } from '../../shared/base/log.ts';
import { DatabaseThread, type RunThread } from '../storage/database-thread.ts';
import { changeOf, packedBytes, type Waiting } from './store-batch.ts';
import type { ResultToStore, StoreBatch, StoreDone, StoredResult, StoredRow } from './stored-result.ts';

export interface ResultStoreOptions {
  /** Made when it is missing; held while this runs. */
  readonly folder: string;
  readonly storageKeys?: readonly Uint8Array[];
  /** Told what is on the disk, whenever the database has been opened: at the start, and after a failure. */
  readonly onOpened: (rows: readonly StoredRow[]) => void;
  /** It cannot write, and why; empty: it can again. */
  readonly onTrouble: (reason: string) => void;
  /** Milliseconds that a commit took, from the first of its results on. */
  readonly onCommit: (ms: number, results: number) => void;
  readonly runThread?: RunThread | undefined;
  readonly log: Logger;
}

/** Limits of what waits to be written; more is not taken. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
const MAX_WAITING = 10_000;
/** Limit of what is read at the same time. */
const MAX_READING_BYTES = 64 * 1024 * 1024;

/**
 * Results on the disk. It never fails: what cannot be written is said to be not on the disk, and what cannot be read is not
 * there.
 */
export class ResultStore {
  readonly #options: ResultStoreOptions;
  readonly #thread: DatabaseThread<Waiting, StoreBatch, StoreDone, string, StoredResult | undefined, StoredRow[]>;
  #readingBytes = 0;

  constructor(options: ResultStoreOptions) {
    this.#options = options;
    const { folder, storageKeys: keys = [], runThread, log } = options;
    this.#thread = new DatabaseThread({
      script: new URL('./store-thread.ts', import.meta.url),
      ...{ workerData: { folder, keys }, runThread, folder, name: 'the kept results' },
      bytesOf: ({ put }) => put?.size ?? 0,
      pack: (items) => {
        const bytes = packedBytes(items);
        return { batch: { changes: items.map(changeOf), bytes }, transfer: [bytes.buffer] };
      },
      onOpened: (rows, aside, reason) => {
        if (aside !== '') {
          log.error(
            { path: aside, reason },
            'the kept results were damaged; they are put aside, and new ones are kept',
          );
        }
        log.debug({ path: folder, count: rows.length }, 'kept results are there');
        options.onOpened(rows);
      },
      onTrouble: options.onTrouble,
      onDone: (items, done, trouble) => this.#written(items, done, trouble),
      onFailed: (items) => declined(items),
    });
  }

  /** Why nothing is written; empty: it is. */
  get trouble(): string {
    return this.#thread.trouble;
  }

  /** @throws KerbError BrokerAlreadyRunning. With a disk that cannot be written it starts, and tries again later. */
  start(): Promise<void> {
    return this.#thread.start();
  }

  /** Writes what waits, and lets go of the folder. Whoever calls it again waits for the same. */
  stop(): Promise<void> {
    return this.#thread.stop();
  }

  /** True while a result of this size is taken. */
  accepts(bytes: number): boolean {
    const { trouble, isStopping, waiting, waitingBytes } = this.#thread;
    return trouble === '' && !isStopping && waiting < MAX_WAITING && waitingBytes + bytes <= MAX_WAITING_BYTES;
  }

  /** In place of what is there under its key. `done` is called once, later. Only after `accepts`. */
  put(result: ResultToStore, done: (isOnDisk: boolean) => void): void {
    this.#thread.add({ put: result, key: result.key, done, since: performance.now() });
  }

  remove(key: string): void {
    // While nothing can be written, no more than this is remembered; the next start finds what has expired.
    if (this.#thread.waiting >= 10 * MAX_WAITING) return;
    this.#thread.add({ put: undefined, key, done: undefined, since: 0 });
  }

  /** With what was removed before. @returns whether nothing of it is left in the file */
  scrub(): Promise<boolean> {
    if (this.#thread.trouble !== '' || this.#thread.isStopping) return Promise.resolve(false);
    return new Promise((done) => {
      this.#thread.add({ put: undefined, key: '', done, scrub: true, since: 0 });
    });
  }

  /** True while a result of this size can be asked for. */
  canRead(bytes: number): boolean {
    return this.#readingBytes + bytes <= MAX_READING_BYTES;
  }

  /** Undefined: it is not there, or not as it was written. */
  async read(key: string, bytes: number): Promise<StoredResult | undefined> {
    this.#readingBytes += bytes;
    const { answer, reason } = await this.#thread.read(key);
    this.#readingBytes -= bytes;
    if (reason !== '') this.#options.log.warn({ reason }, 'a kept result cannot be read');
    return answer;
  }

  /** A removal makes room: it is tried again with the first of the next. */
  #written(items: readonly Waiting[], { isScrubbed }: StoreDone, trouble: string): readonly Waiting[] {
    if (trouble !== '') return declined(items);
    const puts = items.filter(({ put }) => put !== undefined);
    if (puts.length > 0) this.#options.onCommit(performance.now() - puts[0]!.since, puts.length);
    for (const { done, scrub } of items) done?.(scrub === undefined || isScrubbed);
    return [];
  }
}

/** No caller waits for a disk that cannot be written. @returns the removals */
function declined(items: readonly Waiting[]): Waiting[] {
  for (const { done } of items) done?.(false);
  return items.filter(({ put, scrub }) => put === undefined && scrub === undefined);
}

import { Worker } from 'node:worker_threads';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { changeOf, packedBytes, type Reading, type Waiting, within } from './store-batch.ts';
import type { ResultToStore, StoredResult, StoredRow, StoreReply, StoreRequest } from './stored-result.ts';

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
  readonly log: Logger;
}

/** Limits of what waits to be written; more is not taken. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
const MAX_WAITING = 10_000;
/** Limit of what is read at the same time. */
const MAX_READING_BYTES = 64 * 1024 * 1024;
/** One commit. */
const MAX_BATCH_BYTES = 16 * 1024 * 1024;
const MAX_BATCH = 1000;
/** After a failure nothing is written for so long: no caller waits for a disk that is full. */
const RETRY_MS = 5000;
const CLOSE_MS = 5000;

/**
 * Results on the disk, seen from the broker: a thread writes them, one commit after the other, and everything that comes
 * while one is under way goes into the next. So no result waits for longer than two commits, and one that is alone for
 * none but its own.
 *
 * It never fails: what cannot be written is said to be not on the disk, and what cannot be read is not there.
 */
export class ResultStore {
  readonly #options: ResultStoreOptions;
  #thread: Worker | undefined;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #writing: readonly Waiting[] = [];
  readonly #reading = new Map<number, Reading>();
  #readingBytes = 0;
  #nextRead = 1;
  #scheduled = false;
  #retryTimer: NodeJS.Timeout | undefined;
  #trouble = '';
  #stopping = false;
  #stopped: Promise<void> | undefined;
  #onOpened: ((error?: KerbError) => void) | undefined;
  #onIdle: (() => void) | undefined;
  #onClosed: (() => void) | undefined;

  constructor(options: ResultStoreOptions) {
    this.#options = options;
  }

  /** Why nothing is written; empty: it is. */
  get trouble(): string {
    return this.#trouble;
  }

  /** @throws KerbError BrokerAlreadyRunning. With a disk that cannot be written it starts, and tries again later. */
  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#onOpened = (error) => (error === undefined ? resolve() : reject(error));
      this.#run();
    });
  }

  /** Writes what waits, and lets go of the folder. Whoever calls it again waits for the same. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    const thread = this.#thread;
    this.#begun(); // it may be stopped in the middle of its start
    if (thread === undefined) return;
    await within(CLOSE_MS, (resolve) => {
      this.#onIdle = resolve;
      this.#write();
    });
    await within(CLOSE_MS, (resolve) => {
      this.#onClosed = resolve;
      this.#send({ kind: 'close' });
    });
    this.#thread = undefined;
    await thread.terminate();
    this.#failAll();
  }

  /** True while a result of this size is taken. */
  accepts(bytes: number): boolean {
    if (this.#trouble !== '' || this.#stopping) return false;
    return this.#waiting.length < MAX_WAITING && this.#waitingBytes + bytes <= MAX_WAITING_BYTES;
  }

  /** In place of what is there under its key. `done` is called once, later. Only after `accepts`. */
  put(result: ResultToStore, done: (isOnDisk: boolean) => void): void {
    this.#waitingBytes += result.size;
    this.#waiting.push({ put: result, key: result.key, done, since: performance.now() });
    this.#schedule();
  }

  remove(key: string): void {
    // While nothing can be written, no more than this is remembered; the next start finds what has expired.
    if (this.#waiting.length >= 10 * MAX_WAITING) return;
    this.#waiting.push({ put: undefined, key, done: undefined, since: 0 });
    this.#schedule();
  }

  /** True while a result of this size can be asked for. */
  canRead(bytes: number): boolean {
    return this.#readingBytes + bytes <= MAX_READING_BYTES;
  }

  /** Undefined: it is not there, or not as it was written. */
  read(key: string, bytes: number): Promise<StoredResult | undefined> {
    if (this.#thread === undefined || this.#stopping) return Promise.resolve(undefined);
    return new Promise((settle) => {
      const request = this.#nextRead++;
      this.#reading.set(request, { bytes, settle });
      this.#readingBytes += bytes;
      this.#send({ kind: 'read', request, key });
    });
  }

  #run(): void {
    const { folder, storageKeys: keys = [] } = this.#options;
    const thread = new Worker(new URL('./store-thread.ts', import.meta.url), { workerData: { folder, keys } });
    this.#thread = thread;
    thread.on('message', (reply: StoreReply) => this.#take(reply));
    thread.on('error', (error) => this.#lost(thread, messageOf(error)));
    thread.on('exit', () => this.#lost(thread, 'the thread that writes results has ended'));
    this.#send({ kind: 'open' });
  }

  #send(request: StoreRequest, transfer: readonly ArrayBuffer[] = []): void {
    this.#thread?.postMessage(request, transfer);
  }

  #take(reply: StoreReply): void {
    switch (reply.kind) {
      case 'opened':
        this.#opened(reply.rows, reply.aside, reply.reason);
        return;
      case 'failed-to-open':
        this.#notOpened(reply.inUse, reply.reason);
        return;
      case 'written':
        this.#written(reply.reason);
        return;
      case 'read': {
        const { request, result, reason } = reply;
        if (reason !== '') this.#options.log.warn({ reason }, 'a kept result cannot be read');
        this.#endRead(request, result);
        return;
      }
      case 'closed':
        this.#onClosed?.();
    }
  }

  #opened(rows: readonly StoredRow[], aside: string, reason: string): void {
    const { folder, onOpened, log } = this.#options;
    if (aside !== '') {
      log.error({ path: aside, reason }, 'the kept results were damaged; they are put aside, and new ones are kept');
    }
    log.debug({ path: folder, count: rows.length }, 'kept results are there');
    onOpened(rows);
    this.#begun();
  }

  #begun(error?: KerbError): void {
    this.#onOpened?.(error);
    this.#onOpened = undefined;
    // A broker that has nothing else left to do may end.
    this.#thread?.unref();
  }

  #notOpened(inUse: boolean, reason: string): void {
    const { folder } = this.#options;
    if (inUse && this.#onOpened !== undefined) {
      const message = `another broker uses the state folder of ${folder}; stop it, or give this one a folder of its own with --state`;
      this.#begun(new KerbError(ErrorCode.BrokerAlreadyRunning, message, { folder }));
    } else {
      this.#setTrouble(reason);
      this.#begun();
    }
  }

  #schedule(): void {
    if (this.#scheduled || this.#writing.length > 0 || this.#retryTimer !== undefined) return;
    this.#scheduled = true;
    // All that comes in this turn of the event loop goes into one commit.
    setImmediate(() => {
      this.#scheduled = false;
      this.#write();
    });
  }

  #write(): void {
    if (this.#writing.length > 0) return;
    if (this.#waiting.length === 0 || this.#thread === undefined) {
      this.#onIdle?.();
      return;
    }
    let bytes = 0;
    let count = 0;
    while (count < this.#waiting.length && count < MAX_BATCH && (count === 0 || bytes < MAX_BATCH_BYTES)) {
      bytes += this.#waiting[count++]!.put?.size ?? 0;
    }
    this.#writing = this.#waiting.splice(0, count);
    this.#waitingBytes -= bytes;
    const packed = packedBytes(this.#writing);
    this.#send({ kind: 'write', changes: this.#writing.map(changeOf), bytes: packed }, [packed.buffer]);
  }

  #written(reason: string): void {
    const batch = this.#writing;
    this.#writing = [];
    const puts = batch.filter(({ put }) => put !== undefined);
    if (reason === '') {
      this.#setTrouble('');
      if (puts.length > 0) this.#options.onCommit(performance.now() - puts[0]!.since, puts.length);
    } else {
      this.#setTrouble(reason);
      // A removal makes room: it is tried again with the first of the next.
      this.#waiting.unshift(...batch.filter(({ put }) => put === undefined));
    }
    for (const { done } of puts) done?.(reason === '');
    if (reason !== '') this.#declineWaiting();
    if (this.#stopping) {
      if (reason === '') this.#write();
      else this.#onIdle?.();
    } else if (this.#waiting.length > 0) this.#schedule();
  }

  /** No caller waits for a disk that cannot be written. */
  #declineWaiting(): void {
    const declined = this.#waiting.filter(({ put }) => put !== undefined);
    this.#waiting = this.#waiting.filter(({ put }) => put === undefined);
    this.#waitingBytes = 0;
    for (const { done } of declined) done?.(false);
  }

  #setTrouble(reason: string): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    const before = this.#trouble;
    this.#trouble = reason;
    if (reason !== '' && !this.#stopping) {
      this.#retryTimer = setTimeout(() => this.#retry(), RETRY_MS);
      this.#retryTimer.unref();
    }
    if (before !== reason) this.#options.onTrouble(reason);
  }

  #retry(): void {
    this.#retryTimer = undefined;
    if (this.#thread === undefined) this.#run();
    // An empty batch finds out as well whether the disk can be written.
    this.#waiting.push({ put: undefined, key: '', done: undefined, since: 0 });
    this.#schedule();
  }

  #lost(thread: Worker, reason: string): void {
    if (this.#thread !== thread) return;
    this.#thread = undefined;
    this.#begun(new KerbError(ErrorCode.StateUnavailable, `the kept results cannot be opened: ${reason}`));
    this.#onClosed?.();
    this.#setTrouble(reason);
    this.#failAll();
    this.#onIdle?.();
  }

  #failAll(): void {
    const lost = this.#writing;
    this.#writing = [];
    for (const { done } of lost) done?.(false);
    this.#declineWaiting();
    for (const request of [...this.#reading.keys()]) this.#endRead(request, undefined);
  }

  #endRead(request: number, result: StoredResult | undefined): void {
    const reading = this.#reading.get(request);
    if (reading === undefined) return;
    this.#reading.delete(request);
    this.#readingBytes -= reading.bytes;
    reading.settle(result);
  }
}

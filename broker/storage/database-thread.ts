import { Worker } from 'node:worker_threads';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { ThreadReply, ThreadRequest } from './thread-messages.ts';

/** The part of a thread that `DatabaseThread` needs. */
export type Thread = Pick<Worker, 'postMessage' | 'on' | 'unref' | 'terminate'>;
/** Runs a source with what it is given. */
export type RunThread = (script: URL, workerData: unknown) => Thread;

export interface DatabaseThreadOptions<Item, Batch, Done, Opened> {
  /** The source that the thread runs, and what it is given. */
  readonly script: URL;
  readonly workerData: unknown;
  /** A test may put something in the place of a thread. */
  readonly runThread?: RunThread | undefined;
  /** Held while this runs. */
  readonly folder: string;
  /** For messages: `the kept results`. */
  readonly name: string;
  /** Bytes of an item, for the limits of one commit and of what waits. */
  readonly bytesOf: (item: Item) => number;
  /** The message of a batch, and its buffers that go over to the thread. Asked with no items to find out about the disk. */
  readonly pack: (items: readonly Item[]) => { readonly batch: Batch; readonly transfer?: readonly ArrayBuffer[] };
  /** Told whenever the database has been opened: at the start, and after a failure. `aside` empty: it was not damaged. */
  readonly onOpened: (opened: Opened, aside: string, reason: string) => void;
  /** It cannot write, and why; empty: it can again. */
  readonly onTrouble: (reason: string) => void;
  /** A batch has ended; `trouble` empty: it is on the disk. @returns items that are to be tried again */
  readonly onDone: (items: readonly Item[], done: Done, trouble: string) => readonly Item[];
  /** These were not sent, and are not tried again. @returns those that wait all the same */
  readonly onFailed: (items: readonly Item[], reason: string) => readonly Item[];
}

/** One commit. */
const MAX_BATCH_BYTES = 16 * 1024 * 1024;
const MAX_BATCH = 1000;
/** After a failure nothing is written for so long, in milliseconds: no caller waits for a disk that is full. */
export const RETRY_MS = 5000;
const CLOSE_MS = 5000;

/**
 * A database, seen from the broker: a thread reads and writes it, one transaction after the other, and all that comes while one
 * is under way goes into the next. So no change waits for longer than two commits, and one that is alone for none but its own.
 */
export class DatabaseThread<Item, Batch, Done, Question, Answer, Opened> {
  readonly #options: DatabaseThreadOptions<Item, Batch, Done, Opened>;
  #thread: Thread | undefined;
  #waiting: Item[] = [];
  #waitingBytes = 0;
  #writing: readonly Item[] | undefined;
  readonly #reading = new Map<number, (answer: Answer | undefined, reason: string) => void>();
  #nextRead = 1;
  #scheduled = false;
  #retryTimer: NodeJS.Timeout | undefined;
  #trouble = '';
  #stopping = false;
  #stopped: Promise<void> | undefined;
  #onOpened: ((error?: KerbError) => void) | undefined;
  #onIdle: (() => void) | undefined;
  #onClosed: (() => void) | undefined;

  constructor(options: DatabaseThreadOptions<Item, Batch, Done, Opened>) {
    this.#options = options;
  }

  /** Why nothing is written; empty: it is. */
  get trouble(): string {
    return this.#trouble;
  }

  get isStopping(): boolean {
    return this.#stopping;
  }

  /** Items that have not been sent, and their bytes. */
  get waiting(): number {
    return this.#waiting.length;
  }
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** @throws KerbError BrokerAlreadyRunning. With a disk that cannot be used it starts, and tries again later. */
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

  /** The thread begins with the first one when it was not started. */
  add(item: Item): void {
    this.#waiting.push(item);
    this.#waitingBytes += this.#options.bytesOf(item);
    if (this.#thread === undefined && this.#retryTimer === undefined && !this.#stopping) this.#run();
    this.#schedule();
  }

  /** `answer` is undefined when it could not be read, and `reason` says why; `reason` is empty when there is no thread. */
  read(question: Question): Promise<{ readonly answer: Answer | undefined; readonly reason: string }> {
    if (this.#thread === undefined || this.#stopping) return Promise.resolve({ answer: undefined, reason: '' });
    return new Promise((resolve) => {
      const request = this.#nextRead++;
      this.#reading.set(request, (answer, reason) => resolve({ answer, reason }));
      this.#post({ kind: 'read', request, question });
    });
  }

  async #stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    const thread = this.#thread;
    this.#begun(); // it may be stopped in the middle of its start
    if (thread !== undefined) {
      await within(CLOSE_MS, (resolve) => {
        this.#onIdle = resolve;
        this.#send();
      });
      await within(CLOSE_MS, (resolve) => {
        this.#onClosed = resolve;
        this.#post({ kind: 'close' });
      });
      this.#thread = undefined;
      await thread.terminate();
    }
    this.#failAll('the broker is stopping');
  }

  #run(): void {
    const { script, workerData, runThread = newThread } = this.#options;
    const thread = runThread(script, workerData);
    this.#thread = thread;
    thread.on('message', (reply: ThreadReply<Done, Answer, Opened>) => this.#take(reply));
    thread.on('error', (error) => this.#lost(thread, messageOf(error)));
    thread.on('exit', () => this.#lost(thread, `the thread of ${this.#options.name} has ended`));
    this.#post({ kind: 'open' });
  }

  #post(request: ThreadRequest<Batch, Question>, transfer: readonly ArrayBuffer[] = []): void {
    this.#thread?.postMessage(request, transfer);
  }

  #take(reply: ThreadReply<Done, Answer, Opened>): void {
    switch (reply.kind) {
      case 'opened':
        this.#options.onOpened(reply.opened, reply.aside, reply.reason);
        this.#begun();
        return;
      case 'failed-to-open':
        this.#notOpened(reply.inUse, reply.reason);
        return;
      case 'done':
        this.#done(reply.done, reply.trouble);
        return;
      case 'answer':
        this.#reading.get(reply.request)?.(reply.answer, reply.reason);
        this.#reading.delete(reply.request);
        return;
      case 'closed':
        this.#onClosed?.();
    }
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
    if (this.#scheduled || this.#writing !== undefined || this.#retryTimer !== undefined) return;
    this.#scheduled = true;
    // All that comes in this turn of the event loop goes into one transaction.
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#writing !== undefined) return;
    if (this.#waiting.length === 0 || this.#thread === undefined) {
      this.#onIdle?.();
      return;
    }
    let bytes = 0;
    let count = 0;
    while (count < this.#waiting.length && count < MAX_BATCH && (count === 0 || bytes < MAX_BATCH_BYTES)) {
      bytes += this.#options.bytesOf(this.#waiting[count++]!);
    }
    this.#waitingBytes -= bytes;
    this.#write(this.#waiting.splice(0, count));
  }

  #write(items: readonly Item[]): void {
    this.#writing = items;
    const { batch, transfer } = this.#options.pack(items);
    this.#post({ kind: 'batch', batch }, transfer);
  }

  #done(done: Done, trouble: string): void {
    const items = this.#writing ?? [];
    this.#writing = undefined;
    this.#setTrouble(trouble);
    const again = this.#options.onDone(items, done, trouble);
    if (trouble !== '') this.#failWaiting(trouble, again);
    if (!this.#stopping) {
      if (this.#waiting.length > 0) this.#schedule();
    } else if (trouble === '') this.#send();
    else this.#onIdle?.();
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

  /** An empty batch finds out as well whether the disk can be written. */
  #retry(): void {
    this.#retryTimer = undefined;
    if (this.#thread === undefined) this.#run();
    if (this.#waiting.length > 0) this.#schedule();
    else if (this.#writing === undefined) this.#write([]);
  }

  #lost(thread: Thread, reason: string): void {
    if (this.#thread !== thread) return;
    this.#thread = undefined;
    const { name } = this.#options;
    this.#begun(new KerbError(ErrorCode.StateUnavailable, `${name} cannot be opened: ${reason}`));
    this.#onClosed?.();
    this.#setTrouble(reason);
    this.#failAll(reason);
    this.#onIdle?.();
  }

  #failAll(reason: string): void {
    const lost = this.#writing ?? [];
    this.#writing = undefined;
    const again = this.#options.onFailed(lost, reason);
    this.#failWaiting(reason, again);
    for (const settle of this.#reading.values()) settle(undefined, '');
    this.#reading.clear();
  }

  #failWaiting(reason: string, again: readonly Item[]): void {
    this.#waiting = [...again, ...this.#options.onFailed(this.#waiting, reason)];
    this.#waitingBytes = this.#waiting.reduce((sum, item) => sum + this.#options.bytesOf(item), 0);
  }
}

function newThread(script: URL, workerData: unknown): Thread {
  return new Worker(script, { workerData });
}

/** Resolves when `begin` calls its argument, or after so many milliseconds. */
async function within(ms: number, begin: (resolve: () => void) => void): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    begin(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

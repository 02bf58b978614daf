import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { within } from '../results/store-batch.ts';
import type { StateThreadData } from './state-thread.ts';
import type { StateReply, StateRequest, StateUse, ThreadReply, ThreadRequest } from './state-types.ts';

export interface StateStoreOptions extends StateThreadData {
  /** It cannot write, and why; empty: it can again. */
  readonly onTrouble: (reason: string) => void;
  /** The database was damaged and was put aside. */
  readonly onDamaged: (aside: string, reason: string) => void;
  /** Milliseconds that a batch with changes took, from the first of its requests on. */
  readonly onCommit: (ms: number) => void;
}

interface Waiting {
  readonly request: StateRequest;
  readonly settle: (reply: StateReply) => void;
  readonly bytes: number;
  readonly since: number;
}

/** Limits of what waits; more is not taken. */
const MAX_WAITING = 10_000;
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
/** One commit. */
const MAX_BATCH = 1000;
const MAX_BATCH_BYTES = 16 * 1024 * 1024;
/** After a failure it is tried again after so long, in milliseconds; until then nothing is taken. */
export const STATE_RETRY_MS = 5000;
const CLOSE_MS = 5000;

/**
 * The values of sessions, seen from the broker: a thread reads and writes them, one transaction after the other, and all that
 * comes while one is under way goes into the next. It never throws: what cannot be done is answered with `failed`.
 */
export class StateStore {
  readonly #options: StateStoreOptions;
  readonly #use = new Map<string, StateUse>();
  #thread: Worker | undefined;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #asked: readonly Waiting[] = [];
  #scheduled = false;
  #retryTimer: NodeJS.Timeout | undefined;
  #trouble = '';
  #stopping = false;
  #stopped: Promise<void> | undefined;
  #onOpened: ((error?: KerbError) => void) | undefined;
  #onIdle: (() => void) | undefined;
  #onClosed: (() => void) | undefined;

  constructor(options: StateStoreOptions) {
    this.#options = options;
  }

  /** Why nothing is taken; empty: it is. */
  get trouble(): string {
    return this.#trouble;
  }

  /** By tenant. */
  get use(): ReadonlyMap<string, StateUse> {
    return this.#use;
  }

  /**
   * With nothing kept so far, the thread begins with the first request: most brokers keep no state.
   * @throws KerbError BrokerAlreadyRunning. With a disk that cannot be used it starts, and tries again later.
   */
  async start(): Promise<void> {
    if (!existsSync(this.#options.folder)) return;
    await new Promise<void>((resolve, reject) => {
      this.#onOpened = (error) => (error === undefined ? resolve() : reject(error));
      this.#run();
    });
  }

  /** Does what waits, and lets go of the folder. Whoever calls it again waits for the same. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  ask(request: StateRequest): Promise<StateReply> {
    const bytes = bytesOf(request);
    const full = this.#waiting.length >= MAX_WAITING || this.#waitingBytes + bytes > MAX_WAITING_BYTES;
    const reason = this.#stopping ? 'the broker is stopping' : this.#trouble || (full ? 'too much waits for it' : '');
    if (reason !== '') return Promise.resolve({ kind: 'failed', reason });
    return new Promise((settle) => {
      this.#waiting.push({ request, settle, bytes, since: performance.now() });
      this.#waitingBytes += bytes;
      if (this.#thread === undefined) this.#run();
      this.#schedule();
    });
  }

  async #stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#retryTimer);
    const thread = this.#thread;
    this.#begun(); // it may be stopped in the middle of its start
    if (thread === undefined) return;
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
    this.#failAll('the broker is stopping');
  }

  #run(): void {
    const { folder, maxBytes, keys } = this.#options;
    const workerData: StateThreadData = { folder, maxBytes, keys };
    const thread = new Worker(new URL('./state-thread.ts', import.meta.url), { workerData });
    this.#thread = thread;
    thread.on('message', (reply: ThreadReply) => this.#take(reply));
    thread.on('error', (error) => this.#lost(thread, messageOf(error)));
    thread.on('exit', () => this.#lost(thread, 'the thread that keeps the state has ended'));
    this.#post({ kind: 'open' });
  }

  #post(request: ThreadRequest): void {
    this.#thread?.postMessage(request);
  }

  #take(reply: ThreadReply): void {
    switch (reply.kind) {
      case 'opened':
        if (reply.aside !== '') this.#options.onDamaged(reply.aside, reply.reason);
        this.#use.clear();
        this.#note(reply.use);
        this.#begun();
        return;
      case 'failed-to-open':
        this.#notOpened(reply.inUse, reply.reason);
        return;
      case 'done':
        this.#done(reply);
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
      return;
    }
    this.#setTrouble(reason);
    this.#begun();
  }

  #schedule(): void {
    if (this.#scheduled || this.#asked.length > 0 || this.#trouble !== '') return;
    this.#scheduled = true;
    // All that comes in this turn of the event loop goes into one transaction.
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#asked.length > 0) return;
    if (this.#waiting.length === 0 || this.#thread === undefined) {
      this.#onIdle?.();
      return;
    }
    let bytes = 0;
    let count = 0;
    while (count < this.#waiting.length && count < MAX_BATCH && (count === 0 || bytes < MAX_BATCH_BYTES)) {
      bytes += this.#waiting[count++]!.bytes;
    }
    this.#asked = this.#waiting.splice(0, count);
    this.#waitingBytes -= bytes;
    this.#post({ kind: 'batch', requests: this.#asked.map(({ request }) => request) });
  }

  #done({ replies, trouble, use }: Extract<ThreadReply, { kind: 'done' }>): void {
    const asked = this.#asked;
    this.#asked = [];
    this.#note(use);
    this.#setTrouble(trouble);
    const first = asked.find(({ request }) => request.kind === 'commit');
    if (first !== undefined && trouble === '') this.#options.onCommit(performance.now() - first.since);
    for (const [i, { settle }] of asked.entries()) settle(replies[i] ?? { kind: 'failed', reason: trouble });
    if (trouble !== '') this.#failWaiting(trouble);
    if (this.#stopping) this.#send();
    else if (this.#waiting.length > 0) this.#schedule();
  }

  #note(use: ReadonlyMap<string, StateUse>): void {
    for (const [tenant, one] of use) {
      if (one.keys === 0 && one.outputs === 0) this.#use.delete(tenant);
      else this.#use.set(tenant, one);
    }
  }

  #setTrouble(reason: string): void {
    clearTimeout(this.#retryTimer);
    const before = this.#trouble;
    this.#trouble = reason;
    if (reason !== '' && !this.#stopping) {
      this.#retryTimer = setTimeout(() => this.#retry(), STATE_RETRY_MS);
      this.#retryTimer.unref();
    }
    if (before !== reason) this.#options.onTrouble(reason);
  }

  #retry(): void {
    if (this.#thread === undefined) this.#run();
    // An empty batch finds out whether the disk can be written.
    this.#post({ kind: 'batch', requests: [] });
  }

  #lost(thread: Worker, reason: string): void {
    if (this.#thread !== thread) return;
    this.#thread = undefined;
    this.#begun(new KerbError(ErrorCode.StateUnavailable, `the state of sessions cannot be opened: ${reason}`));
    this.#onClosed?.();
    this.#setTrouble(reason);
    this.#failAll(reason);
    this.#onIdle?.();
  }

  #failAll(reason: string): void {
    const lost = this.#asked;
    this.#asked = [];
    for (const { settle } of lost) settle({ kind: 'failed', reason });
    this.#failWaiting(reason);
  }

  #failWaiting(reason: string): void {
    const waiting = this.#waiting.splice(0);
    this.#waitingBytes = 0;
    for (const { settle } of waiting) settle({ kind: 'failed', reason });
  }
}

function bytesOf(request: StateRequest): number {
  if (request.kind !== 'commit') return 0;
  const { change, applied } = request;
  return (change.action === 'set' ? change.value.length : 0) + (applied?.output.length ?? 0);
}

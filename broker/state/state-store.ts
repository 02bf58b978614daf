import { existsSync } from 'node:fs';
import { DatabaseThread, type RunThread } from '../storage/database-thread.ts';
import type { StateThreadData } from './state-thread.ts';
import type { StateDone, StateReply, StateRequest, StateUse } from './state-types.ts';

export interface StateStoreOptions extends StateThreadData {
  /** It cannot write, and why; empty: it can again. */
  readonly onTrouble: (reason: string) => void;
  /** The database was damaged and was put aside. */
  readonly onDamaged: (aside: string, reason: string) => void;
  /** Milliseconds that a batch with changes took, from the first of its requests on. */
  readonly onCommit: (ms: number) => void;
  readonly runThread?: RunThread | undefined;
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

/** The values of sessions on the disk. It never throws: what cannot be done is answered with `failed`. */
export class StateStore {
  readonly #options: StateStoreOptions;
  readonly #use = new Map<string, StateUse>();
  readonly #thread: DatabaseThread<
    Waiting,
    readonly StateRequest[],
    StateDone,
    never,
    never,
    ReadonlyMap<string, StateUse>
  >;

  constructor(options: StateStoreOptions) {
    this.#options = options;
    const { folder, maxBytes, keys, runThread } = options;
    const workerData: StateThreadData = { folder, maxBytes, keys };
    this.#thread = new DatabaseThread({
      script: new URL('./state-thread.ts', import.meta.url),
      ...{ workerData, runThread, folder, name: 'the state of sessions' },
      bytesOf: ({ bytes }) => bytes,
      pack: (items) => ({ batch: items.map(({ request }) => request) }),
      onOpened: (use, aside, reason) => {
        if (aside !== '') options.onDamaged(aside, reason);
        this.#use.clear();
        this.#note(use);
      },
      onTrouble: options.onTrouble,
      onDone: (items, done, trouble) => this.#done(items, done, trouble),
      onFailed: (items, reason) => {
        for (const { settle } of items) settle({ kind: 'failed', reason });
        return [];
      },
    });
  }

  /** Why nothing is taken; empty: it is. */
  get trouble(): string {
    return this.#thread.trouble;
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
    if (existsSync(this.#options.folder)) await this.#thread.start();
  }

  /** Does what waits, and lets go of the folder. Whoever calls it again waits for the same. */
  stop(): Promise<void> {
    return this.#thread.stop();
  }

  ask(request: StateRequest): Promise<StateReply> {
    const { waiting, waitingBytes, isStopping, trouble } = this.#thread;
    const bytes = bytesOf(request);
    const full = waiting >= MAX_WAITING || waitingBytes + bytes > MAX_WAITING_BYTES;
    const reason = isStopping ? 'the broker is stopping' : trouble || (full ? 'too much waits for it' : '');
    if (reason !== '') return Promise.resolve({ kind: 'failed', reason });
    return new Promise((settle) => {
      this.#thread.add({ request, settle, bytes, since: performance.now() });
    });
  }

  #done(items: readonly Waiting[], { replies, use }: StateDone, trouble: string): readonly Waiting[] {
    this.#note(use);
    const first = items.find(({ request }) => request.kind === 'commit');
    if (first !== undefined && trouble === '') this.#options.onCommit(performance.now() - first.since);
    for (const [i, { settle }] of items.entries()) settle(replies[i] ?? { kind: 'failed', reason: trouble });
    return [];
  }

  #note(use: ReadonlyMap<string, StateUse>): void {
    for (const [tenant, one] of use) {
      if (one.keys === 0 && one.outputs === 0) this.#use.delete(tenant);
      else this.#use.set(tenant, one);
    }
  }
}

function bytesOf(request: StateRequest): number {
  if (request.kind !== 'commit') return 0;
  const { change, applied } = request;
  return (change.action === 'set' ? change.value.length : 0) + (applied?.output.length ?? 0);
}

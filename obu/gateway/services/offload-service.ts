import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import type { GrantGuard } from '../../grants/grants.ts';
import type { Offloader, OffloadResult } from '../../offload/offloader.ts';

/** Offloads of one workload that may be open at the same time, and bytes of input in them. */
export const MAX_OPEN = 32;
export const MAX_OPEN_BYTES = 64 * 1024 * 1024;
/** How long, how many and how large results are kept, for a workload that lost its connection and asks again. */
const KEEP_MS = 10_000;
const KEEP_COUNT = 16;
const KEEP_BYTES = 8 * 1024 * 1024;
/** Share of a budget that is kept for the way back, in milliseconds: an answer that is late for the workload is none. */
const RETURN_RESERVE = { share: 0.02, least: 2, most: 20 };

/** An offload as it came from the container. */
export interface OffloadCall {
  readonly id: string;
  readonly task: string;
  readonly input: Uint8Array;
  readonly budgetMs: number;
  /** "any", "vm", or empty for "any". */
  readonly isolation: string;
}

export interface Done {
  readonly taskDigest: string;
  readonly result: OffloadResult;
}

interface Entry {
  readonly ask: OffloadCall;
  readonly outcome: Promise<Done>;
  /** Set when it is done and kept. */
  expiry?: NodeJS.Timeout;
  bytes: number;
}

export interface OffloadServiceOptions {
  /** Put in front of every id, so that two workloads that choose the same id do not share an offload. */
  readonly scope: string;
  /** Asked for each offload: it may change while the workload runs. */
  readonly priority: () => number;
  readonly guard: GrantGuard;
  readonly offloader: Offloader;
}

/**
 * Where the offloads of one workload are handed in. The same id is the same offload: while it is open, and for a
 * moment after it succeeded, asking again joins it instead of running it a second time. One that failed is forgotten,
 * so that it can be tried again under its id.
 */
export class OffloadService {
  readonly #options: OffloadServiceOptions;
  readonly #entries = new Map<string, Entry>();
  #open = 0;
  #openBytes = 0;
  #keptBytes = 0;

  constructor(options: OffloadServiceOptions) {
    this.#options = options;
  }

  /** @throws KerbError BadGatewayRequest | NotGranted | UnknownTask | TooManyRequests | whatever the Offloader says */
  async submit(ask: OffloadCall): Promise<Done> {
    checkAsk(ask);
    const known = this.#entries.get(ask.id);
    if (known !== undefined) {
      const same = known.ask.task === ask.task && known.ask.isolation === ask.isolation;
      if (same && sameBytes(known.ask.input, ask.input)) return known.outcome;
      throw new KerbError(
        ErrorCode.BadGatewayRequest,
        `offload id "${ask.id}" is already in use for another task, input or isolation; choose a new id for each offload`,
      );
    }
    const taskDigest = this.#options.guard.task(ask.task, ask.budgetMs);
    if (this.#open >= MAX_OPEN || this.#openBytes + ask.input.length > MAX_OPEN_BYTES) {
      throw new KerbError(
        ErrorCode.TooManyRequests,
        `${this.#open} offloads with ${this.#openBytes} bytes of input are open; the limits are ${MAX_OPEN} and ${MAX_OPEN_BYTES}`,
      );
    }
    const entry: Entry = { ask, outcome: this.#run(ask, taskDigest), bytes: 0 };
    this.#entries.set(ask.id, entry);
    return this.#settle(entry);
  }

  /** Forgets everything; offloads that are open still run to their end, unheard. */
  clear(): void {
    for (const entry of this.#entries.values()) clearTimeout(entry.expiry);
    this.#entries.clear();
    this.#keptBytes = 0;
  }

  async #run(ask: OffloadCall, taskDigest: string): Promise<Done> {
    this.#open++;
    this.#openBytes += ask.input.length;
    try {
      const result = await this.#options.offloader.offload({
        id: `${this.#options.scope}/${ask.id}`,
        taskDigest,
        input: ask.input,
        budgetMs: withinReserve(ask.budgetMs),
        askedMs: ask.budgetMs,
        priority: this.#options.priority(),
        isolation: ask.isolation === 'vm' ? 'vm' : 'any',
      });
      return { taskDigest, result };
    } finally {
      this.#open--;
      this.#openBytes -= ask.input.length;
    }
  }

  async #settle(entry: Entry): Promise<Done> {
    try {
      const done = await entry.outcome;
      if (this.#entries.get(entry.ask.id) === entry) this.#keep(entry, done);
      return done;
    } catch (error) {
      if (this.#entries.get(entry.ask.id) === entry) this.#entries.delete(entry.ask.id);
      throw error;
    }
  }

  #keep(entry: Entry, done: Done): void {
    entry.bytes = entry.ask.input.length + done.result.output.length;
    this.#keptBytes += entry.bytes;
    entry.expiry = setTimeout(() => this.#drop(entry), KEEP_MS);
    entry.expiry.unref();
    let kept = 0;
    for (const other of this.#entries.values()) if (other.expiry !== undefined) kept++;
    for (const other of this.#entries.values()) {
      if (kept <= KEEP_COUNT && this.#keptBytes <= KEEP_BYTES) break;
      if (other.expiry === undefined) continue;
      this.#drop(other);
      kept--;
    }
  }

  #drop(entry: Entry): void {
    clearTimeout(entry.expiry);
    if (this.#entries.get(entry.ask.id) !== entry) return;
    this.#entries.delete(entry.ask.id);
    this.#keptBytes -= entry.bytes;
  }
}

function checkAsk(ask: OffloadCall): void {
  if (!/^[\x21-\x7e]{1,128}$/.test(ask.id)) {
    throw new KerbError(ErrorCode.BadGatewayRequest, 'an offload id has 1 to 128 printable ASCII characters');
  }
  if (!['', 'any', 'vm'].includes(ask.isolation)) {
    throw new KerbError(ErrorCode.BadGatewayRequest, 'the isolation of an offload is "any" or "vm"');
  }
  if (!Number.isFinite(ask.budgetMs)) {
    throw new KerbError(ErrorCode.BadGatewayRequest, 'the budget of an offload is a number of milliseconds');
  }
  if (ask.budgetMs <= 0) {
    throw new KerbError(ErrorCode.BudgetExhausted, `offload "${ask.id}" came with no budget left`);
  }
}

/** The budget without what the way back costs; a tiny one is left as it is. */
function withinReserve(budgetMs: number): number {
  const { share, least, most } = RETURN_RESERVE;
  return budgetMs > 10 * least ? budgetMs - Math.min(most, Math.max(least, share * budgetMs)) : budgetMs;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

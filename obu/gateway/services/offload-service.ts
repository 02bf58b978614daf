import { Deadline } from '../../../shared/base/deadline.ts';
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { isOffloadId, isolationFrom, type NamedOffload } from '../../../shared/protocol/offload-request.ts';
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

/** An offload as it came from the container: nothing of it is checked. */
export interface OffloadCall {
  readonly id: string;
  readonly task: string;
  readonly input: Uint8Array;
  readonly budgetMs: number;
  readonly isolation: string;
}

export interface Done {
  readonly taskDigest: string;
  readonly result: OffloadResult;
}

interface Entry {
  readonly request: NamedOffload;
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
  async submit(call: OffloadCall): Promise<Done> {
    const request = checked(call);
    const { id, task, input, isolation } = request;
    const known = this.#entries.get(id);
    if (known !== undefined) {
      const same = known.request.task === task && known.request.isolation === isolation;
      if (same && sameBytes(known.request.input, input)) return known.outcome;
      throw new KerbError(
        ErrorCode.BadGatewayRequest,
        `offload id "${id}" is already in use for another task, input or isolation; choose a new id for each offload`,
      );
    }
    const taskDigest = this.#options.guard.task(task, call.budgetMs);
    if (this.#open >= MAX_OPEN || this.#openBytes + input.length > MAX_OPEN_BYTES) {
      throw new KerbError(
        ErrorCode.TooManyRequests,
        `${this.#open} offloads with ${this.#openBytes} bytes of input are open; the limits are ${MAX_OPEN} and ${MAX_OPEN_BYTES}`,
      );
    }
    const entry: Entry = { request, outcome: this.#run(request, taskDigest), bytes: 0 };
    this.#entries.set(id, entry);
    return this.#settle(entry);
  }

  /** Forgets everything; offloads that are open still run to their end, unheard. */
  clear(): void {
    for (const entry of this.#entries.values()) clearTimeout(entry.expiry);
    this.#entries.clear();
    this.#keptBytes = 0;
  }

  async #run({ id, input, isolation, deadline }: NamedOffload, taskDigest: string): Promise<Done> {
    this.#open++;
    this.#openBytes += input.length;
    const { scope, priority, offloader } = this.#options;
    try {
      const scoped = `${scope}/${id}`;
      const result = await offloader.offload({
        id: scoped,
        taskDigest,
        input,
        isolation,
        deadline,
        priority: priority(),
      });
      return { taskDigest, result };
    } finally {
      this.#open--;
      this.#openBytes -= input.length;
    }
  }

  async #settle(entry: Entry): Promise<Done> {
    try {
      const done = await entry.outcome;
      if (this.#entries.get(entry.request.id) === entry) this.#keep(entry, done);
      return done;
    } catch (error) {
      if (this.#entries.get(entry.request.id) === entry) this.#entries.delete(entry.request.id);
      throw error;
    }
  }

  #keep(entry: Entry, done: Done): void {
    entry.bytes = entry.request.input.length + done.result.output.length;
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
    if (this.#entries.get(entry.request.id) !== entry) return;
    this.#entries.delete(entry.request.id);
    this.#keptBytes -= entry.bytes;
  }
}

/** @throws KerbError BadGatewayRequest | BudgetExhausted */
function checked({ id, task, input, budgetMs, isolation: demanded }: OffloadCall): NamedOffload {
  if (!isOffloadId(id)) {
    throw new KerbError(ErrorCode.BadGatewayRequest, 'an offload id has 1 to 128 printable ASCII characters');
  }
  const isolation = isolationFrom(demanded);
  if (isolation === undefined) {
    throw new KerbError(ErrorCode.BadGatewayRequest, 'the isolation of an offload is "any" or "vm"');
  }
  if (!Number.isFinite(budgetMs)) {
    throw new KerbError(ErrorCode.BadGatewayRequest, 'the budget of an offload is a number of milliseconds');
  }
  if (budgetMs <= 0) {
    throw new KerbError(ErrorCode.BudgetExhausted, `offload "${id}" came with no budget left`);
  }
  const deadline = new Deadline(budgetMs, performance.now(), reserveOf(budgetMs));
  return { id, task, input, isolation, deadline };
}

/** What the way back to the workload costs; nothing of a tiny budget. */
function reserveOf(budgetMs: number): number {
  const { share, least, most } = RETURN_RESERVE;
  return budgetMs > 10 * least ? Math.min(most, Math.max(least, share * budgetMs)) : 0;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

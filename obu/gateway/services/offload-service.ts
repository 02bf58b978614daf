import { Deadline } from '../../../shared/base/deadline.ts';
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { Once, type OnceOptions } from '../../../shared/base/once/once.ts';
import { isOffloadId, isolationFrom, type NamedOffload } from '../../../shared/protocol/offload-request.ts';
import type { OffloadResult } from '../../../shared/v2e-client/offload-result.ts';
import type { GrantGuard } from '../../grants/grants.ts';
import type { Offloader } from '../../offload/offloader.ts';

/** Offloads of one workload that may be open at the same time, and bytes of input in them. */
export const MAX_OPEN = 32;
export const MAX_OPEN_BYTES = 64 * 1024 * 1024;
/** How long, how many and how large results are kept, for a workload that lost its connection and asks again. */
const KEPT: OnceOptions = { maxAgeMs: 10_000, maxCount: 16, maxBytes: 8 * 1024 * 1024, inputs: 'bytes' };
/** Share of a budget that is kept for the way back, in milliseconds: an answer that is late for the workload is none. */
const RETURN_RESERVE = { share: 0.02, least: 2, most: 20 };

/** An offload as it came from the container: nothing of it is checked. */
export interface OffloadCall {
  readonly id: string;
  readonly task: string;
  readonly input: Uint8Array;
  readonly budgetMs: number;
  readonly isolation: string;
  /** Of the session state that it goes with; empty: none. */
  readonly stateKey?: string;
}

export interface Done {
  readonly taskDigest: string;
  readonly result: OffloadResult;
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
  readonly #once = new Once<Promise<Done>, Done>(KEPT);
  /** As the offloader knows them. */
  readonly #openIds = new Set<string>();
  #openBytes = 0;

  constructor(options: OffloadServiceOptions) {
    this.#options = options;
  }

  /** @throws KerbError BadGatewayRequest | NotGranted | UnknownTask | TooManyRequests | whatever the Offloader says */
  async submit(call: OffloadCall): Promise<Done> {
    const request = checked(call);
    const { id, task, input, isolation } = request;
    const { stateKey = '' } = call;
    const subject = `${isolation} ${task} ${stateKey}`;
    const known = this.#once.find(id, subject, input);
    if (known.found === 'pending') return known.pending;
    if (known.found === 'result') return known.result;
    if (known.found === 'conflict') {
      throw new KerbError(
        ErrorCode.BadGatewayRequest,
        `offload id "${id}" is already in use for another task, input, isolation or state; choose a new id for each offload`,
      );
    }
    const taskDigest = this.#options.guard.task(task, call.budgetMs);
    if (stateKey !== '') this.#options.guard.state(stateKey);
    if (this.#openIds.size >= MAX_OPEN || this.#openBytes + input.length > MAX_OPEN_BYTES) {
      throw new KerbError(
        ErrorCode.TooManyRequests,
        `${this.#openIds.size} offloads with ${this.#openBytes} bytes of input are open; the limits are ${MAX_OPEN} and ${MAX_OPEN_BYTES}`,
      );
    }
    const outcome = this.#run(request, taskDigest, stateKey);
    this.#once.begin(id, subject, input, outcome);
    try {
      const done = await outcome;
      this.#once.complete(id, outcome, done, done.result.output.length);
      return done;
    } catch (error) {
      this.#once.forget(id, outcome);
      throw error;
    }
  }

  /** The workload is gone: forgets everything, and has no offload run any longer that is open. */
  clear(): void {
    this.#once.clear();
    for (const id of this.#openIds) this.#options.offloader.cancel(id);
  }

  async #run(request: NamedOffload, taskDigest: string, stateKey: string): Promise<Done> {
    const { id, input, isolation, deadline } = request;
    const { scope, priority, guard, offloader } = this.#options;
    const { places: kinds, maxCost } = guard.placeLimits;
    const scoped = `${scope}/${id}`;
    this.#openIds.add(scoped);
    this.#openBytes += input.length;
    try {
      const result = await offloader.offload({
        id: scoped,
        taskDigest,
        input,
        isolation,
        deadline,
        priority: priority(),
        kinds,
        maxCost,
        ...(stateKey !== '' && { stateKey }),
      });
      return { taskDigest, result };
    } finally {
      this.#openIds.delete(scoped);
      this.#openBytes -= input.length;
    }
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

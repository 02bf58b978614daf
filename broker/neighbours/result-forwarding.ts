import type { NeighbourStatus } from '../../shared/api/broker.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { shownRefusal } from '../../shared/protocol/shown-refusal.ts';
import { verifyClaimToken } from '../../shared/v2e-client/claim-token.ts';
import { withReason } from '../ingress/codec.ts';
import type { Answer, ClaimedTask, TaskResult } from '../offloads/offload.ts';
import type { Offloads } from '../offloads/offloads.ts';
import { sha256Of } from '../results/input-hash.ts';
import type { ClaimFile, StoredClaim } from './claim-file.ts';
import type { NeighbourEvents } from './neighbour-events.ts';
import type { Neighbours } from './neighbours.ts';
import { forbidden, MAX_PIECE } from './pieces.ts';

const { ForwardedClaim, NeighbourReply, NeighbourState, ResultNotice } = kerbside.v2e;

export interface ResultForwardingOptions {
  readonly neighbours: () => Neighbours;
  readonly identity: () => Identity;
  readonly offloads: Pick<Offloads, 'claim'>;
  readonly file: ClaimFile;
  readonly events: NeighbourEvents;
}

/** Results that wait for neighbours: their number, for each, and their bytes, for all. */
const MAX_WAITING = 256;
const MAX_BYTES = 64 * 1024 * 1024;
/** A result that could not be forwarded in this time, in milliseconds, is not forwarded any more. */
const KEEP_MS = 10 * 60_000;
const MAX_BUDGET_MS = 3_600_000;
const LOOK_MS = 500;
/** The neighbour fetches the whole output before it answers. */
const NOTICE_MS = 60_000;

interface Outgoing extends StoredClaim {
  /** `stored`: it is read from the kept results when the neighbour is there. */
  state: 'running' | 'ready' | 'stored' | 'sending';
  notice: Uint8Array | undefined;
  output: Buffer | undefined;
}

/**
 * Gives results to the brokers that vehicles have moved on to. A claim is on the disk before it is taken; a result that is kept
 * is read again when the neighbour is there, and any other one waits in memory.
 */
export class ResultForwarding {
  readonly #options: ResultForwardingOptions;
  readonly #waiting = new Map<string, Outgoing>();
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ResultForwardingOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const now = Date.now();
    for (const one of await this.#options.file.read()) {
      if (one.until > now && this.#waiting.size < MAX_WAITING * 4)
        this.#put({ ...one, until: Math.min(one.until, now + KEEP_MS) }, 'stored');
    }
    this.#timer = setInterval(() => this.look(), LOOK_MS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#options.file.write(this.#stored());
  }

  status(neighbour: string): Required<Pick<NeighbourStatus, 'results'>> {
    const own = [...this.#waiting.values()].filter((one) => one.neighbour === neighbour);
    return { results: { waiting: own.length, bytes: own.reduce((sum, { output }) => sum + (output?.length ?? 0), 0) } };
  }

  /** The handler of `claim`. @throws KerbError */
  async claim(neighbour: string, request: Buffer): Promise<Uint8Array> {
    const { tenant, vehicle, id, token, budgetMs, isolation } = ForwardedClaim.decode(request);
    const { neighbours, identity, events, file } = this.#options;
    if (!neighbours().may(neighbour, tenant, 'results')) throw unknown(id);
    const granted = verifyClaimToken(token, identity());
    const isMeant = granted.from === identity().self.id && granted.to === neighbour && granted.id === id;
    if (!isMeant || granted.tenant !== tenant || granted.vehicle !== vehicle)
      throw forbidden('the token is for another claim');
    if (!(budgetMs > 0 && budgetMs <= MAX_BUDGET_MS)) throw forbidden('its budget is not valid');
    const own = [...this.#waiting.values()].filter((one) => one.neighbour === neighbour);
    const one = { neighbour, tenant, vehicle, id, until: Date.now() + KEEP_MS };
    const before = this.#waiting.get(keyOf(one));
    if (before === undefined && own.length >= MAX_WAITING) {
      throw new KerbError(ErrorCode.QueueFull, `${MAX_WAITING} results wait for ${neighbour} already`, {
        retryAfterMs: 1000,
      });
    }
    const outgoing = before ?? this.#put(one, 'running');
    if (before === undefined && !this.#begin(outgoing, budgetMs, isolation)) {
      this.#remove(outgoing);
      throw unknown(id);
    }
    await file.write(this.#stored());
    events.fetched('claim', neighbour, 'taken');
    return NeighbourReply.encode({ state: NeighbourState.TAKEN }).finish();
  }

  /** Forwards what can be. */
  look(): void {
    const now = Date.now();
    for (const one of [...this.#waiting.values()]) {
      if (one.until < now) {
        this.#options.events.forwarded('result', one.neighbour, 'dropped');
        this.#end(one);
      } else if (this.#options.neighbours().link(one.neighbour) !== undefined) {
        if (one.state === 'stored') this.#readAgain(one);
        else if (one.state === 'ready') void this.#send(one);
      }
    }
  }

  /** A piece of an output. @throws KerbError */
  piece(neighbour: string, tenant: string, vehicle: string, id: string, offset: number, size: number): Uint8Array {
    const output = this.#waiting.get(keyOf({ neighbour, tenant, vehicle, id }))?.output;
    if (output === undefined) throw unknown(id);
    const length = Math.min(size, MAX_PIECE);
    if (length < 1 || offset + length > output.length) throw forbidden('the output has no such bytes');
    return NeighbourReply.encode({ data: output.subarray(offset, offset + length) }).finish();
  }

  #put(one: StoredClaim, state: Outgoing['state']): Outgoing {
    const outgoing: Outgoing = { ...one, state, notice: undefined, output: undefined };
    this.#waiting.set(keyOf(one), outgoing);
    return outgoing;
  }

  #begin(one: Outgoing, budgetMs: number, isolation: string): boolean {
    const { tenant, vehicle, id } = one;
    const answer: Answer = (result, refusal) => {
      // A result may be there before the claim is known to be one.
      setImmediate(() => void this.#answered(one, task, result, refusal, isolation));
    };
    const task: ClaimedTask | undefined = this.#options.offloads.claim(
      { tenant, vehicle, id },
      new Deadline(budgetMs),
      answer,
    );
    return task !== undefined;
  }

  #readAgain(one: Outgoing): void {
    one.state = 'running';
    if (this.#begin(one, KEEP_MS, 'any')) return;
    const why = new KerbError(ErrorCode.ResultNotKept, `the result of ${one.id} is not kept any more`);
    void this.#answered(one, undefined, undefined, { code: why.code, message: why.message, retryAfterMs: 0 }, 'any');
  }

  async #answered(
    one: Outgoing,
    task: ClaimedTask | undefined,
    result: TaskResult | undefined,
    refusal: Refusal | undefined,
    isolation: string,
  ): Promise<void> {
    if (this.#waiting.get(keyOf(one)) !== one) return;
    const { tenant, vehicle, id, neighbour } = one;
    const isMeant = result !== undefined && (isolation !== 'vm' || result.isolation === 'vm');
    const isAway = this.#options.neighbours().link(neighbour) === undefined;
    if (isMeant && result.durable && isAway) {
      one.state = 'stored';
      return;
    }
    const why = refusal ?? {
      code: ErrorCode.IsolationUnavailable,
      message: 'it was not run in a virtual machine',
      retryAfterMs: 0,
    };
    if (!isMeant || task === undefined) {
      one.notice = ResultNotice.encode({ tenant, vehicle, id, refusal: withReason(shownRefusal(why)) }).finish();
    } else {
      if (this.#bytes + result.output.length > MAX_BYTES) {
        this.#options.events.forwarded('result', neighbour, 'dropped');
        this.#end(one);
        return;
      }
      one.output = result.output;
      this.#bytes += result.output.length;
      one.notice = ResultNotice.encode({
        tenant,
        vehicle,
        id,
        result: await factsOf(task, result, one.until),
      }).finish();
    }
    one.state = 'ready';
    this.look();
  }

  async #send(one: Outgoing): Promise<void> {
    const { neighbours, events } = this.#options;
    const { neighbour, tenant, id, vehicle } = one;
    one.state = 'sending';
    try {
      await neighbours().link(neighbour)!.ask('result', one.notice!, NOTICE_MS);
      events.forwarded('result', neighbour, 'taken');
      events.audit({
        event: 'forward',
        by: `broker ${neighbour}`,
        tenant,
        detail: `the result of ${id} of vehicle ${vehicle}`,
      });
      this.#end(one);
    } catch (error) {
      const isRefused = isKerbError(error) && error.context.refused === true && error.code !== ErrorCode.QueueFull;
      events.forwarded('result', neighbour, isRefused ? 'refused' : 'failed');
      if (isRefused) this.#end(one);
      else one.state = 'ready';
    }
  }

  #end(one: Outgoing): void {
    this.#remove(one);
    void this.#options.file.write(this.#stored());
  }

  #remove(one: Outgoing): void {
    this.#bytes -= one.output?.length ?? 0;
    one.output = undefined;
    this.#waiting.delete(keyOf(one));
  }

  #stored(): StoredClaim[] {
    return [...this.#waiting.values()].map(({ neighbour, tenant, vehicle, id, until }) => ({
      neighbour,
      tenant,
      vehicle,
      id,
      until,
    }));
  }
}

async function factsOf({ taskDigest, input }: ClaimedTask, result: TaskResult, until: number) {
  const { output, isolation, queueMs, startMs, runMs, cpuMs, peakMemory, durable = false, receipt } = result;
  const inputHash = typeof input === 'string' ? input : await sha256Of(input);
  return {
    ...{ size: output.length, taskDigest, isolation, queueMs, startMs, runMs, cpuMs, peakMemory, durable },
    sha256: Buffer.from(await sha256Of(output), 'base64'),
    inputSha256: Buffer.from(inputHash, 'base64'),
    startedAt: Date.now() - runMs,
    keepMs: Math.max(0, Math.round(until - Date.now())),
    ...(receipt && { receipt }),
  };
}

function unknown(id: string): KerbError {
  return new KerbError(
    ErrorCode.ResultNotKept,
    `there is no offload ${id} for this neighbour: neither under way nor kept`,
  );
}

function keyOf({
  neighbour,
  tenant,
  vehicle,
  id,
}: Pick<StoredClaim, 'neighbour' | 'tenant' | 'vehicle' | 'id'>): string {
  return [neighbour, tenant, vehicle, id].join('\n');
}

import type { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { refusalFrom, refusalOf } from '../../shared/base/refusal.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import type { Answer, SignedReceipt, TaskResult } from '../offloads/offload.ts';
import { sha256Of } from '../results/input-hash.ts';
import type { ForwardedResult } from '../results/kept-result.ts';
import type { NeighbourEvents } from './neighbour-events.ts';
import type { Neighbours } from './neighbours.ts';
import { forbidden, MAX_PIECE, PIECE_MS } from './pieces.ts';

const { ForwardedClaim, NeighbourReply, NeighbourState, PieceQuery, ResultNotice } = kerbside.v2e;

/** A claim as a vehicle makes it. */
export interface VehicleClaim {
  readonly id: string;
  /** The broker that has the offload. */
  readonly broker: string;
  readonly token: Buffer;
  readonly deadline: Deadline;
  readonly isolation: string;
}

export interface ResultClaimsOptions {
  readonly neighbours: () => Neighbours;
  /** Keeps it for a vehicle that asks again. */
  readonly keep: (result: ForwardedResult) => void;
  readonly events: NeighbourEvents;
}

const MAX_CLAIMS = 1024;
const MAX_OF_TENANT = 128;
/** Bytes of one output, and of all that are fetched at the same time. */
const MAX_OUTPUT = 64 * 1024 * 1024;
const MAX_FETCHING = 128 * 1024 * 1024;
/** A claim is remembered for so long: a result that is late is kept for the vehicle. */
const REMEMBER_MS = 10 * 60_000;
const LOOK_MS = 250;
const CLAIM_MS = 10_000;

interface Open extends Pick<VehicleClaim, 'id' | 'broker' | 'isolation'> {
  readonly tenant: string;
  readonly vehicle: string;
  token: Buffer;
  deadline: Deadline;
  until: number;
  answer: Answer | undefined;
  state: 'waiting' | 'asking' | 'asked';
  isFetching: boolean;
  /** Pieces of the output that came before the connection was lost, with its hash. */
  partial: { readonly sha256: string; readonly pieces: Buffer[]; bytes: number } | undefined;
}

/** Asks neighbours for the results of vehicles that have come here, and takes them. */
export class ResultClaims {
  readonly #options: ResultClaimsOptions;
  readonly #open = new Map<string, Open>();
  #fetching = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ResultClaimsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    const why = refusalOf(new KerbError(ErrorCode.BrokerStopping, 'this broker is stopping; claim it at another one'));
    for (const one of this.#open.values()) answerOnce(one, undefined, why);
    this.#open.clear();
  }

  /** A vehicle wants the result of an offload that another broker has. While that is away, the claim waits. */
  ask({ tenant, id: vehicle }: Pick<VehiclePrincipal, 'tenant' | 'id'>, claim: VehicleClaim, answer: Answer): void {
    const refuse = (code: ErrorCode, message: string) => answer(undefined, refusalOf(new KerbError(code, message)));
    if (!this.#options.neighbours().ids.includes(claim.broker)) {
      refuse(ErrorCode.NoBroker, `broker ${claim.broker.slice(0, 63)} is not a neighbour of this one; ask it yourself`);
      return;
    }
    const key = keyOf({ ...claim, tenant, vehicle });
    const before = this.#open.get(key);
    const ofTenant = [...this.#open.values()].filter((one) => one.tenant === tenant).length;
    if (before === undefined && (this.#open.size >= MAX_CLAIMS || ofTenant >= MAX_OF_TENANT)) {
      refuse(ErrorCode.QueueFull, 'too many claims wait at this broker; try again later');
      return;
    }
    const until = performance.now() + REMEMBER_MS;
    if (before === undefined) {
      this.#open.set(key, {
        ...claim,
        tenant,
        vehicle,
        until,
        answer,
        state: 'waiting',
        isFetching: false,
        partial: undefined,
      });
    } else {
      answerOnce(before, undefined, refusalOf(new KerbError(ErrorCode.OffloadCancelled, 'it was claimed again')));
      Object.assign(before, { token: claim.token, deadline: claim.deadline, until, answer, state: 'waiting' });
    }
    this.#look();
  }

  /** The handler of `result`: answers when all of it is here. @throws KerbError */
  async result(neighbour: string, request: Buffer): Promise<Uint8Array> {
    const notice = ResultNotice.decode(request);
    const { tenant, vehicle, id } = notice;
    const open = this.#open.get(keyOf({ broker: neighbour, tenant, vehicle, id }));
    if (open === undefined)
      throw new KerbError(ErrorCode.ResultNotKept, `no vehicle has claimed ${id.slice(0, 128)} here`);
    const { events } = this.#options;
    if (notice.result == null) {
      if (notice.refusal == null) throw forbidden('it holds nothing');
      answerOnce(open, undefined, refusalFrom(notice.refusal));
      this.#open.delete(keyOf(open));
      return NeighbourReply.encode({ state: NeighbourState.TAKEN }).finish();
    }
    if (open.isFetching) throw new KerbError(ErrorCode.QueueFull, 'it is fetched already', { retryAfterMs: 1000 });
    open.isFetching = true;
    try {
      const forwarded = await this.#fetch(open, notice.result);
      this.#options.keep(forwarded);
      answerOnce(open, forwarded.result, undefined);
      if (this.#open.get(keyOf(open)) === open) this.#open.delete(keyOf(open));
      events.fetched('result', neighbour, 'taken');
      events.audit({
        event: 'fetch',
        by: `broker ${neighbour}`,
        tenant,
        detail: `the result of ${id} of vehicle ${vehicle}`,
      });
      return NeighbourReply.encode({ state: NeighbourState.TAKEN }).finish();
    } catch (error) {
      events.fetched('result', neighbour, 'failed');
      throw isKerbError(error) ? error : forbidden(messageOf(error));
    } finally {
      open.isFetching = false;
    }
  }

  async #fetch(open: Open, facts: kerbside.v2e.IResultFacts): Promise<ForwardedResult> {
    const { tenant, vehicle, id, broker } = open;
    const size = Number(facts.size ?? 0);
    if (!Number.isSafeInteger(size) || size > MAX_OUTPUT)
      throw forbidden(`its output is larger than ${MAX_OUTPUT} bytes`);
    if (open.isolation === 'vm' && facts.isolation !== 'vm') throw forbidden('it was not run in a virtual machine');
    if (this.#fetching + size > MAX_FETCHING)
      throw new KerbError(ErrorCode.QueueFull, 'too many results are fetched at this time', { retryAfterMs: 1000 });
    const sha256 = Buffer.from(facts.sha256 ?? []).toString('base64');
    if (open.partial?.sha256 !== sha256) open.partial = { sha256, pieces: [], bytes: 0 };
    const { partial } = open;
    this.#fetching += size;
    try {
      while (partial.bytes < size) {
        const link = this.#options.neighbours().link(broker);
        if (link === undefined) throw new KerbError(ErrorCode.BrokerLost, `the neighbour ${broker} is not connected`);
        const length = Math.min(MAX_PIECE, size - partial.bytes);
        const query = { tenant, result: { vehicle, id }, offset: partial.bytes, size: length };
        const { data } = await link.ask('piece', PieceQuery.encode(query).finish(), PIECE_MS);
        if (data == null || data.length !== length) throw forbidden('a piece has another length than it was asked for');
        partial.pieces.push(Buffer.from(data));
        partial.bytes += length;
      }
    } finally {
      this.#fetching -= size;
    }
    open.partial = undefined;
    const output = Buffer.concat(partial.pieces);
    if ((await sha256Of(output)) !== sha256) throw forbidden('its output is not the one that was announced');
    return forwardedFrom(open, facts, output);
  }

  #look(): void {
    const now = performance.now();
    for (const [key, one] of this.#open) {
      if (one.deadline.isOver(now) && one.answer !== undefined) {
        const message = `the budget of ${one.deadline.budgetText} was spent before broker ${one.broker} had sent the result of ${one.id}`;
        answerOnce(one, undefined, refusalOf(new KerbError(ErrorCode.BudgetSpentInQueue, message)));
      }
      if (one.until < now) this.#open.delete(key);
      else if (one.state === 'waiting' && this.#options.neighbours().link(one.broker) !== undefined)
        void this.#forward(one);
    }
  }

  async #forward(one: Open): Promise<void> {
    const { tenant, vehicle, id, token, broker, isolation, deadline } = one;
    const budgetMs = Math.max(1, deadline.leftMs());
    one.state = 'asking';
    try {
      const request = ForwardedClaim.encode({ tenant, vehicle, id, token, budgetMs, isolation }).finish();
      await this.#options.neighbours().link(broker)!.ask('claim', request, CLAIM_MS);
      one.state = 'asked';
      this.#options.events.forwarded('claim', broker, 'taken');
    } catch (error) {
      const isRefused = isKerbError(error) && error.context.refused === true;
      this.#options.events.forwarded('claim', broker, isRefused ? 'refused' : 'failed');
      if (!isRefused) {
        one.state = 'waiting';
        return;
      }
      answerOnce(one, undefined, refusalOf(error));
      if (this.#open.get(keyOf(one)) === one) this.#open.delete(keyOf(one));
    }
  }
}

function forwardedFrom(
  { tenant, vehicle, id }: Open,
  facts: kerbside.v2e.IResultFacts,
  output: Buffer,
): ForwardedResult {
  const { queueMs, startMs, runMs, cpuMs, peakMemory, isolation, startedAt } = facts;
  const times = { queueMs: queueMs ?? 0, startMs: startMs ?? 0, runMs: runMs ?? 0, cpuMs: cpuMs ?? 0 };
  const receipt = facts.receipt as SignedReceipt | null | undefined;
  const result: TaskResult = {
    ...{ ...times, output, peakMemory: peakMemory ?? 0, isolation: isolation ?? '', kept: true },
    ...(receipt && { receipt }),
  };
  return {
    ...{ tenant, vehicle, id, result, startedAt: startedAt ?? 0 },
    taskDigest: facts.taskDigest ?? '',
    inputSha256: Buffer.from(facts.inputSha256 ?? []).toString('base64'),
    keepMs: Math.min(facts.keepMs ?? 0, REMEMBER_MS),
    durable: facts.durable ?? false,
  };
}

function answerOnce(one: Open, ...what: Parameters<Answer>): void {
  const { answer } = one;
  one.answer = undefined;
  answer?.(...what);
}

function keyOf({ broker, tenant, vehicle, id }: Pick<Open, 'broker' | 'tenant' | 'vehicle' | 'id'>): string {
  return [broker, tenant, vehicle, id].join('\n');
}

import type { Socket } from 'socket.io-client';
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import { sha256 } from '../base/hash/sha256.ts';
import { refusalFrom } from '../base/refusal.ts';
import { MAX_WHOLE, type Payload, payloadFrom } from '../protocol/chunks.ts';
import { kerbside } from '../protocol/generated/v2e.js';
import { expectLargeBuffers } from '../protocol/large-buffers.ts';
import type { RoutedOffload } from '../protocol/offload-request.ts';
import { rankOf } from '../protocol/service-class.ts';
import { encodeInPlace } from '../protocol/v2e-encode.ts';
import { bytesOf } from '../protocol/v2e-socket.ts';
import type { BrokerWay } from './announcement.ts';
import { ChunkedTransfers } from './chunks/chunked-transfers.ts';
import { budgetExhausted } from './link-errors.ts';
import { failureOf } from './offload-failure.ts';
import type { BrokerResult, CallerTerms } from './offload-result.ts';

const { OffloadRequest: WireRequest, OffloadReply, CancelRequest, SignedReceipt } = kerbside.v2e;

/** A broker that does not acknowledge a cancel by then is not waited for. */
const CANCEL_TIMEOUT_MS = 5000;

function wireTerms(version: number, { serviceClass, keepMs, durable, wantReceipt = false, state }: CallerTerms) {
  if (version < 2) return {};
  return {
    serviceClass: 1 + rankOf(serviceClass),
    keepMs: Math.ceil(keepMs),
    durable,
    wantReceipt,
    ...(state && { state }),
  };
}

type Reply = ReturnType<typeof OffloadReply.decode>;

/** How much the newest offload counts in the mean time on the way. */
const MEAN_WEIGHT = 0.1;

/** One offload that has been sent and not answered. */
export interface PendingOffload {
  readonly request: RoutedOffload;
  /** On which it was sent, and the version of the protocol there. */
  readonly socket: Socket;
  readonly way: BrokerWay;
  /** Its input goes out in chunks. */
  readonly isLarge: boolean;
  readonly timer: NodeJS.Timeout;
  readonly resolve: (result: BrokerResult) => void;
  readonly reject: (error: KerbError) => void;
}

/**
 * The offloads that one broker has been sent: each ends with its answer, with its budget, or with the connection.
 * Hot path: one object, one promise and one timer per offload.
 */
export class PendingOffloads {
  readonly #brokerOf: () => string;
  readonly #pending = new Set<PendingOffload>();
  readonly #transfers: ChunkedTransfers;
  /** Mean milliseconds that an offload spends outside the broker: there, back, and in two event loops. */
  #onTheWayMs = 0;

  /** @param broker its id, for the place of a result and for messages */
  constructor(broker: () => string) {
    this.#brokerOf = broker;
    this.#transfers = new ChunkedTransfers(broker);
  }

  get #broker(): string {
    return this.#brokerOf();
  }

  get count(): number {
    return this.#pending.size;
  }

  /** Before the first offload on this socket. */
  follow(socket: Socket): void {
    this.#transfers.follow(socket, (id) => this.#postCancel(socket, id));
  }

  /** Settles as `BrokerLink.send`. */
  send(socket: Socket, request: RoutedOffload, terms: CallerTerms, way: BrokerWay): Promise<BrokerResult> {
    const { deadline } = request;
    const now = performance.now();
    if (deadline.isOver(now)) {
      return Promise.reject(budgetExhausted(this.#broker, deadline, 'was spent before the offload was sent'));
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#end(pending);
        // Silence does not say whether the task waits or runs there, or the answer is on its way.
        const how = `ended before broker ${this.#broker} answered: the task waited or ran too long there, or the way was too slow`;
        reject(budgetExhausted(this.#broker, deadline, how));
        this.#sendCancel(pending);
      }, deadline.timerMs(now));
      const isLarge = way.chunks && request.input.length > MAX_WHOLE;
      const pending: PendingOffload = { request, socket, way, isLarge, timer, resolve, reject };
      this.#pending.add(pending);
      if (isLarge) void this.#announce(pending, terms);
      else this.#emit(pending, terms, { input: request.input });
    });
  }

  async #announce(pending: PendingOffload, terms: CallerTerms): Promise<void> {
    const { id, input } = pending.request;
    expectLargeBuffers();
    this.#transfers.sender.add(id, input);
    const hash = await sha256(input);
    if (this.#pending.has(pending)) this.#emit(pending, terms, { chunked: { size: input.length, sha256: hash } });
  }

  #emit(pending: PendingOffload, terms: CallerTerms, what: { input: Uint8Array } | { chunked: Payload }): void {
    const { request, socket, way } = pending;
    const { id, taskDigest, priority, isolation, deadline } = request;
    // The way back counts too: the broker gives up in time for its answer to arrive.
    const budgetMs = deadline.leftForNextHopMs(this.#onTheWayMs);
    const message = { id, taskDigest, budgetMs, priority, isolation, ...what, ...wireTerms(way.version, terms) };
    const bytes = encodeInPlace(WireRequest, message, 'input' in what ? what.input.length : 0);
    socket.emit('offload', bytes, (reply: unknown) => this.#settle(pending, reply));
  }

  /** None of them will be answered. */
  failAll(error: (pending: PendingOffload) => KerbError): void {
    const lost = [...this.#pending];
    this.#pending.clear();
    this.#transfers.lost();
    for (const pending of lost) {
      clearTimeout(pending.timer);
      pending.reject(error(pending));
    }
  }

  /** As `failAll`, and nothing is kept for a next connection. */
  stop(error: () => KerbError): void {
    this.failAll(error);
    this.#transfers.stop();
  }

  /** Offloads of this id fail with Cancelled, and the broker gets a cancel for them. */
  cancel(id: string): void {
    const ended = [...this.#pending].filter(({ request }) => request.id === id);
    for (const pending of ended) {
      this.#end(pending);
      pending.reject(new KerbError(ErrorCode.Cancelled, `the offload ${id} was cancelled: its caller has ended`));
    }
    if (ended[0] !== undefined) this.#sendCancel(ended[0]);
  }

  /** The broker need not finish an offload without a caller. Another caller with the same id shares it. */
  #sendCancel({ request: { id }, socket, way }: PendingOffload): void {
    if (way.version >= 2 && !this.#isWanted(id)) this.#postCancel(socket, id);
  }

  #postCancel(socket: Socket, id: string): void {
    if (!socket.connected) return;
    // The answer makes no difference here, in time or not.
    socket.timeout(CANCEL_TIMEOUT_MS).emit('cancel', CancelRequest.encode({ id }).finish(), () => {});
  }

  #isWanted(id: string): boolean {
    for (const { request } of this.#pending) if (request.id === id) return true;
    return false;
  }

  /** It is not waited for any more. @returns false: it was not before */
  #end(pending: PendingOffload): boolean {
    if (!this.#pending.delete(pending)) return false;
    clearTimeout(pending.timer);
    const { id } = pending.request;
    if (pending.isLarge) this.#transfers.sender.remove(id);
    if (!this.#isWanted(id)) this.#transfers.receiver.drop(id);
    return true;
  }

  #settle(pending: PendingOffload, payload: unknown): void {
    // Too late: its budget is spent, or its connection was given up.
    if (!this.#pending.has(pending)) return;
    const totalMs = pending.request.deadline.elapsedMs();
    const { request, reject } = pending;
    try {
      const reply = OffloadReply.decode(bytesOf(payload));
      this.#learn(totalMs - reply.heldMs);
      if (reply.result != null) {
        if (reply.id !== request.id) throw new Error(`it answers ${reply.id}, not ${request.id}`);
        const chunked = payloadFrom(reply.result.chunked);
        if (chunked !== undefined) void this.#fetch(pending, reply, chunked);
        else if (this.#end(pending)) this.#resolve(pending, reply, reply.result.output ?? new Uint8Array(0));
        return;
      }
      if (reply.refusal == null) throw new Error('it holds neither a result nor a refusal');
      if (this.#end(pending)) reject(failureOf(this.#broker, request, refusalFrom(reply.refusal), totalMs));
    } catch (cause) {
      if (this.#end(pending)) reject(this.#unreadable(messageOf(cause), cause));
    }
  }

  /** Its output comes in chunks, until its budget is spent. */
  async #fetch(pending: PendingOffload, reply: Reply, chunked: Payload): Promise<void> {
    const { request, way } = pending;
    expectLargeBuffers();
    try {
      if (chunked.size > way.maxOutput)
        throw this.#unreadable(
          `it announces ${chunked.size} bytes of output, and the task has at most ${way.maxOutput}`,
        );
      const output = await this.#transfers.receiver.receive(request.id, chunked);
      if (this.#end(pending)) this.#resolve(pending, reply, output);
    } catch (error) {
      if (!this.#end(pending)) return;
      pending.reject(error as KerbError);
      this.#sendCancel(pending);
    }
  }

  #resolve({ request, resolve }: PendingOffload, { result }: Reply, output: Uint8Array): void {
    const { queueMs, runMs, startMs, isolation, kept, receipt } = result!;
    resolve({
      output,
      place: `broker:${this.#broker}`,
      isolation: isolation ?? '',
      queueMs: queueMs ?? 0,
      runMs: runMs ?? 0,
      totalMs: request.deadline.elapsedMs(),
      startMs: startMs ?? 0,
      kept: kept ?? false,
      receipt: receipt == null ? undefined : SignedReceipt.encode(receipt).finish(),
    });
  }

  #unreadable(why: string, cause?: unknown): KerbError {
    const message = `broker ${this.#broker} sent an answer that cannot be read: ${why}`;
    return new KerbError(ErrorCode.BadProtocolMessage, message, { broker: this.#broker }, { cause });
  }

  #learn(onTheWayMs: number): void {
    if (!(onTheWayMs >= 0)) return;
    this.#onTheWayMs =
      this.#onTheWayMs === 0 ? onTheWayMs : this.#onTheWayMs + (onTheWayMs - this.#onTheWayMs) * MEAN_WEIGHT;
  }
}

import type { Socket } from 'socket.io-client';
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import { refusalFrom } from '../base/refusal.ts';
import { kerbside } from '../protocol/generated/v2e.js';
import type { RoutedOffload } from '../protocol/offload-request.ts';
import { rankOf } from '../protocol/service-class.ts';
import { encodeInPlace } from '../protocol/v2e-encode.ts';
import { bytesOf } from '../protocol/v2e-socket.ts';
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

/** How much the newest offload counts in the mean time on the way. */
const MEAN_WEIGHT = 0.1;

/** One offload that has been sent and not answered. */
export interface PendingOffload {
  readonly request: RoutedOffload;
  /** On which it was sent, and the version of the protocol there. */
  readonly socket: Socket;
  readonly version: number;
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
  /** Mean milliseconds that an offload spends outside the broker: there, back, and in two event loops. */
  #onTheWayMs = 0;

  /** @param broker its id, for the place of a result and for messages */
  constructor(broker: () => string) {
    this.#brokerOf = broker;
  }

  get #broker(): string {
    return this.#brokerOf();
  }

  get count(): number {
    return this.#pending.size;
  }

  /** Settles as `BrokerLink.send`. */
  send(socket: Socket, request: RoutedOffload, terms: CallerTerms, version: number): Promise<BrokerResult> {
    const { deadline } = request;
    const now = performance.now();
    if (deadline.isOver(now)) {
      return Promise.reject(budgetExhausted(this.#broker, deadline, 'was spent before the offload was sent'));
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(pending);
        // Silence does not say whether the task waits or runs there, or the answer is on its way.
        const how = `ended before broker ${this.#broker} answered: the task waited or ran too long there, or the way was too slow`;
        reject(budgetExhausted(this.#broker, deadline, how));
        this.#sendCancel(pending);
      }, deadline.timerMs(now));
      const pending: PendingOffload = { request, socket, version, timer, resolve, reject };
      this.#pending.add(pending);
      const { id, taskDigest, input, priority, isolation } = request;
      // The way back counts too: the broker gives up in time for its answer to arrive.
      const budgetMs = deadline.leftForNextHopMs(this.#onTheWayMs, now);
      const message = { id, taskDigest, input, budgetMs, priority, isolation, ...wireTerms(version, terms) };
      const bytes = encodeInPlace(WireRequest, message, input.length);
      socket.emit('offload', bytes, (reply: unknown) => this.#settle(pending, reply));
    });
  }

  /** None of them will be answered. */
  failAll(error: (pending: PendingOffload) => KerbError): void {
    const lost = [...this.#pending];
    this.#pending.clear();
    for (const pending of lost) {
      clearTimeout(pending.timer);
      pending.reject(error(pending));
    }
  }

  /** Offloads of this id fail with Cancelled, and the broker gets a cancel for them. */
  cancel(id: string): void {
    const ended = [...this.#pending].filter(({ request }) => request.id === id);
    for (const pending of ended) {
      this.#pending.delete(pending);
      clearTimeout(pending.timer);
      pending.reject(new KerbError(ErrorCode.Cancelled, `the offload ${id} was cancelled: its caller has ended`));
    }
    if (ended[0] !== undefined) this.#sendCancel(ended[0]);
  }

  /** The broker need not finish an offload without a caller. Another caller with the same id shares it. */
  #sendCancel({ request: { id }, socket, version }: PendingOffload): void {
    if (version < 2 || !socket.connected) return;
    for (const { request } of this.#pending) if (request.id === id) return;
    // The answer makes no difference here, in time or not.
    socket.timeout(CANCEL_TIMEOUT_MS).emit('cancel', CancelRequest.encode({ id }).finish(), () => {});
  }

  #settle(pending: PendingOffload, payload: unknown): void {
    // Too late: its budget is spent, or its connection was given up.
    if (!this.#pending.delete(pending)) return;
    clearTimeout(pending.timer);
    const totalMs = pending.request.deadline.elapsedMs();
    const { request, resolve, reject } = pending;
    try {
      const reply = OffloadReply.decode(bytesOf(payload));
      this.#learn(totalMs - reply.heldMs);
      if (reply.result != null) {
        if (reply.id !== request.id) throw new Error(`it answers ${reply.id}, not ${request.id}`);
        const { output, queueMs, runMs, startMs, isolation, kept, receipt } = reply.result;
        resolve({
          output: output ?? new Uint8Array(0),
          place: `broker:${this.#broker}`,
          isolation: isolation ?? '',
          queueMs: queueMs ?? 0,
          runMs: runMs ?? 0,
          totalMs,
          startMs: startMs ?? 0,
          kept: kept ?? false,
          receipt: receipt == null ? undefined : SignedReceipt.encode(receipt).finish(),
        });
        return;
      }
      if (reply.refusal == null) throw new Error('it holds neither a result nor a refusal');
      reject(failureOf(this.#broker, request, refusalFrom(reply.refusal), totalMs));
    } catch (cause) {
      const message = `broker ${this.#broker} sent an answer that cannot be read: ${messageOf(cause)}`;
      reject(new KerbError(ErrorCode.BadProtocolMessage, message, { broker: this.#broker }, { cause }));
    }
  }

  #learn(onTheWayMs: number): void {
    if (!(onTheWayMs >= 0)) return;
    this.#onTheWayMs =
      this.#onTheWayMs === 0 ? onTheWayMs : this.#onTheWayMs + (onTheWayMs - this.#onTheWayMs) * MEAN_WEIGHT;
  }
}

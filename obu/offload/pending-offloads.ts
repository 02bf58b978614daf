import type { Socket } from 'socket.io-client';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { refusalFrom } from '../../shared/base/refusal.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import type { RoutedOffload } from '../../shared/protocol/offload-request.ts';
import { classOfPriority, rankOf } from '../../shared/protocol/service-class.ts';
import { encodeInPlace } from '../../shared/protocol/v2e-encode.ts';
import { bytesOf } from '../../shared/protocol/v2e-socket.ts';
import { budgetExhausted } from './link-errors.ts';
import type { OffloadResult } from './offloader.ts';
import { failureOf } from './refusal.ts';

const { OffloadRequest: WireRequest, OffloadReply } = kerbside.v2e;

/**
 * A workload may ask again after a lost connection for as long as its budget lasts, and no longer; after the death of the
 * broker it is run again sooner than it would be read from a disk.
 */
function terms(version: number, priority: number, budgetMs: number) {
  if (version < 2) return {};
  return { serviceClass: 1 + rankOf(classOfPriority(priority)), keepMs: Math.ceil(budgetMs), durable: false };
}

/** How much the newest offload counts in the mean time on the way. */
const MEAN_WEIGHT = 0.1;

/** One offload that has been sent and not answered. */
export interface PendingOffload {
  readonly request: RoutedOffload;
  readonly timer: NodeJS.Timeout;
  readonly resolve: (result: OffloadResult) => void;
  readonly reject: (error: KerbError) => void;
}

/**
 * The offloads that one broker has been sent: each ends with its answer, with its budget, or with the connection.
 * Hot path: one object, one promise and one timer per offload.
 */
export class PendingOffloads {
  readonly #broker: string;
  readonly #pending = new Set<PendingOffload>();
  /** Mean milliseconds that an offload spends outside the broker: there, back, and in two event loops. */
  #onTheWayMs = 0;

  /** @param broker its id, for the place of a result and for messages */
  constructor(broker: string) {
    this.#broker = broker;
  }

  get count(): number {
    return this.#pending.size;
  }

  /** Settles as `Offloader.offload`. */
  send(socket: Socket, request: RoutedOffload, version: number): Promise<OffloadResult> {
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
      }, deadline.timerMs(now));
      const pending: PendingOffload = { request, timer, resolve, reject };
      this.#pending.add(pending);
      const { id, taskDigest, input, priority, isolation } = request;
      // The way back counts too: the broker gives up in time for its answer to arrive.
      const budgetMs = deadline.leftForNextHopMs(this.#onTheWayMs, now);
      const message = { id, taskDigest, input, budgetMs, priority, isolation, ...terms(version, priority, budgetMs) };
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
        const { output, queueMs, runMs, isolation } = reply.result;
        resolve({
          output: output ?? new Uint8Array(0),
          place: `broker:${this.#broker}`,
          isolation: isolation ?? '',
          queueMs: queueMs ?? 0,
          runMs: runMs ?? 0,
          totalMs,
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

import { ErrorCode, errorName, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { refusalFrom, refusalOf } from '../../shared/base/refusal.ts';
import { Rate } from '../../shared/discovery/rate.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { shownRefusal } from '../../shared/protocol/shown-refusal.ts';
import { bytesOf } from '../../shared/protocol/v2e-socket.ts';
import { withReason } from '../ingress/codec.ts';

const { NeighbourReply } = kerbside.v2e;

/** The part of a socket of socket.io that is the same on both ends. */
export interface WireSocket {
  readonly connected: boolean;
  on(event: string, listener: (...given: never[]) => void): unknown;
  timeout(ms: number): { emitWithAck(event: string, bytes: Uint8Array): Promise<unknown> };
  disconnect(): unknown;
}

export const NEIGHBOUR_EVENTS = ['announce', 'package', 'files', 'piece', 'claim', 'result', 'state'] as const;
export type NeighbourEvent = (typeof NEIGHBOUR_EVENTS)[number];

/** Answers one request of a neighbour. Gives an encoded reply. @throws KerbError with which it is refused */
export type NeighbourHandler = (neighbour: string, request: Buffer) => Promise<Uint8Array> | Uint8Array;
export type NeighbourHandlers = Partial<Readonly<Record<NeighbourEvent, NeighbourHandler>>>;

export interface NeighbourLinkOptions {
  /** Id of the broker at the other end, from its certificate. */
  readonly neighbour: string;
  /** Id of the one that has connected to the other. */
  readonly dialledBy: string;
  readonly socket: WireSocket;
  /** Stops reading what comes for this time, in milliseconds, so that TCP holds the other end back. */
  readonly holdBack: (ms: number) => void;
  /** @throws KerbError when its certificate is good no more, or it is not a neighbour any more */
  readonly judge: () => void;
  readonly handlers: NeighbourHandlers;
}

/** Requests of one neighbour, and those of them that are answered at the same time. */
const REQUESTS = { perSecond: 200, most: 400 };
const MAX_ANSWERING = 16;
const HOLD_BACK_MS = 500;
/** Bytes of one message either way. */
export const MAX_MESSAGE = 512 * 1024;

export type Reply = ReturnType<typeof NeighbourReply.decode>;

/** One connection between two brokers; each end asks, and each answers. */
export class NeighbourLink {
  readonly neighbour: string;
  readonly dialledBy: string;
  readonly since = new Date().toISOString();
  readonly #options: NeighbourLinkOptions;
  readonly #rate = new Rate(REQUESTS, performance.now());
  readonly #onLost = new Set<() => void>();
  #answering = 0;
  #refused = 0;

  constructor(options: NeighbourLinkOptions) {
    this.#options = options;
    this.neighbour = options.neighbour;
    this.dialledBy = options.dialledBy;
    options.socket.on('disconnect', () => {
      for (const lost of this.#onLost) lost();
    });
    for (const event of NEIGHBOUR_EVENTS) {
      options.socket.on(event, (request: unknown, answer: unknown) => void this.#answer(event, request, answer));
    }
  }

  get isOpen(): boolean {
    return this.#options.socket.connected;
  }

  /** Requests that were over its limits. */
  get refused(): number {
    return this.#refused;
  }

  /** @throws KerbError */
  judge(): void {
    this.#options.judge();
  }

  close(): void {
    this.#options.socket.disconnect();
  }

  /**
   * @throws KerbError with the code of the neighbour's refusal (context.refused); BrokerLost: it does not answer in time;
   * BadProtocolMessage
   */
  async ask(event: NeighbourEvent, request: Uint8Array, limitMs: number): Promise<Reply> {
    const { neighbour } = this;
    let payload: unknown;
    try {
      if (!this.isOpen) throw new Error('not connected');
      payload = await this.#unlessLost(this.#options.socket.timeout(limitMs).emitWithAck(event, request));
    } catch (cause) {
      const why = this.isOpen ? `has not answered for ${limitMs / 1000} s` : 'is not connected';
      throw new KerbError(ErrorCode.BrokerLost, `the neighbour ${neighbour} ${why}`, { neighbour }, { cause });
    }
    let reply: Reply;
    try {
      reply = NeighbourReply.decode(bytesOf(payload));
      if (reply.outcome === undefined) throw new Error('it is empty');
    } catch (cause) {
      const message = `the neighbour ${neighbour} sent an answer that cannot be read: ${messageOf(cause)}`;
      throw new KerbError(ErrorCode.BadProtocolMessage, message, { neighbour }, { cause });
    }
    if (reply.refusal == null) return reply;
    const { code, message, retryAfterMs } = refusalFrom(reply.refusal);
    const known = errorName(code) === 'Unknown' ? ErrorCode.OffloadRefused : (code as ErrorCode);
    throw new KerbError(known, `neighbour ${neighbour}: ${shownRefusal({ code, message, retryAfterMs }).message}`, {
      refused: true,
      retryAfterMs,
    });
  }

  /** socket.io lets whoever has asked wait for the whole limit when the connection is lost. */
  #unlessLost<T>(step: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const lost = () => reject(new Error('the connection was lost'));
      this.#onLost.add(lost);
      step.then(resolve, reject).finally(() => this.#onLost.delete(lost));
    });
  }

  async #answer(event: NeighbourEvent, request: unknown, answer: unknown): Promise<void> {
    // Without an acknowledgement there is nothing to answer with.
    if (typeof answer !== 'function') {
      this.close();
      return;
    }
    const reply = (bytes: Uint8Array) => {
      if (this.isOpen) (answer as (bytes: Uint8Array) => void)(bytes);
    };
    const isTooFast = !this.#rate.take(performance.now());
    if (isTooFast) this.#options.holdBack(HOLD_BACK_MS);
    if (isTooFast || this.#answering >= MAX_ANSWERING) {
      this.#refused++;
      const why = new KerbError(ErrorCode.QueueFull, 'it asks for more than it may', { retryAfterMs: 1000 });
      reply(refusedReply(why));
      return;
    }
    this.#answering++;
    try {
      this.#options.judge();
      const handler = this.#options.handlers[event];
      if (handler === undefined)
        throw new KerbError(ErrorCode.NotSupported, `this broker has no event ${event} for neighbours`);
      reply(await handler(this.neighbour, Buffer.from(bytesOf(request))));
    } catch (error) {
      reply(refusedReply(error));
    } finally {
      this.#answering--;
    }
  }
}

/** An encoded NeighbourReply. */
export function refusedReply(error: unknown): Uint8Array {
  const problem = isKerbError(error)
    ? error
    : new KerbError(ErrorCode.BadProtocolMessage, `the request of a neighbour cannot be used: ${messageOf(error)}`);
  return NeighbourReply.encode({ refusal: withReason(shownRefusal(refusalOf(problem))) }).finish();
}

import { Agent } from 'node:https';
import { io, type Socket } from 'socket.io-client';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { refusalFrom } from '../../shared/base/refusal.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { encodeInPlace } from '../../shared/protocol/v2e-encode.ts';
import { V2E_PING_MS, v2eClientOptions } from '../../shared/protocol/v2e-socket.ts';
import { budgetExhausted, bytesOf, connectionLost, describeConnectError } from './link-errors.ts';
import type { OffloadRequest, OffloadResult, PlaceStatus } from './offloader.ts';
import { failureOf } from './refusal.ts';

const { OffloadRequest: WireRequest, OffloadReply, ServiceAnnouncement } = kerbside.v2e.v1;

export interface BrokerTarget {
  /** As in the broker's certificate; nobody else is spoken to. */
  readonly id: string;
  /** "https://host:port" */
  readonly url: string;
}

/** A task that a broker has announced. Sizes in bytes. */
export interface TaskOffer {
  readonly digest: string;
  readonly name: string;
  readonly version: string;
  readonly maxInput: number;
  readonly maxOutput: number;
}

export interface BrokerLinkOptions {
  readonly target: BrokerTarget;
  /** Why we have no good identity to show; empty when we have. */
  readonly identityTrouble: () => string;
  readonly log: Logger;
}

/** One offload that has been sent and not answered. */
interface Pending {
  readonly request: OffloadRequest;
  readonly startedAt: number;
  readonly timer: NodeJS.Timeout;
  readonly resolve: (result: OffloadResult) => void;
  readonly reject: (error: KerbError) => void;
}

const RETRY_MS = { first: 100, max: 2000, jitter: 0.5 };
const CONNECT_TIMEOUT_MS = 3000;
/** How much the newest offload counts in the mean time on the way. */
const MEAN_WEIGHT = 0.1;
/** A broker says something every `V2E_PING_MS`. One that has been silent for this long does not answer. */
const SILENT_MS = 1.5 * V2E_PING_MS;

/**
 * The connection to one broker: socket.io over mutual TLS, reconnecting by itself for as long as it is started (first
 * after 100 ms, then ever later up to 2 s, with jitter). Connected means authenticated both ways and announced.
 */
export class BrokerLink {
  readonly #options: BrokerLinkOptions;
  readonly #pending = new Set<Pending>();
  #socket: Socket | undefined;
  #agent: Agent | undefined;
  #retry: NodeJS.Timeout | undefined;
  #offers: readonly TaskOffer[] = [];
  #maxInput = 0;
  #announced = false;
  #reason = 'not started';
  /** Mean milliseconds that an offload spends outside the broker: there, back, and in two event loops. */
  #onTheWayMs = 0;
  /** `performance.now()` when its last bytes came; undefined before any did. */
  #heardAt: number | undefined;
  /** It was given up because it was silent, and has been since. */
  #hangs = false;

  constructor(options: BrokerLinkOptions) {
    this.#options = options;
  }

  get connected(): boolean {
    return this.#announced && this.#socket?.connected === true;
  }

  /** Connected and heard of lately: a broker that hangs, or a radio that is gone, says nothing. */
  get answers(): boolean {
    return this.connected && this.#silentMs() < SILENT_MS;
  }

  /** What the broker has announced; empty while not connected. */
  get offers(): readonly TaskOffer[] {
    return this.connected ? this.#offers : [];
  }

  get place(): string {
    return `broker:${this.#options.target.id}`;
  }

  get url(): string {
    return this.#options.target.url;
  }

  /** Why no offload goes there now; the same text as long as it is the same reason. */
  get trouble(): string {
    if (this.answers) return '';
    return this.connected ? 'no answer' : this.#options.identityTrouble() || this.#reason;
  }

  status(): PlaceStatus {
    const { answers, trouble } = this;
    const silentMs = answers || !(this.connected || this.#hangs) ? undefined : this.#silentMs();
    const seconds = silentMs === undefined ? '' : `no answer for ${(silentMs / 1000).toFixed(1)} s`;
    const reason = this.connected || seconds === '' ? seconds || trouble : `${seconds}: ${trouble}`;
    const { place, url } = this;
    return { place, url, connected: answers, reason, ...(silentMs !== undefined && { silentMs }) };
  }

  /** Begins to connect; returns at once. */
  start(identity: Identity): void {
    const { target, log } = this.#options;
    this.#agent = this.#agentOf(identity);
    const socket = io(target.url, {
      ...v2eClientOptions(this.#agent),
      timeout: CONNECT_TIMEOUT_MS,
      reconnectionDelay: RETRY_MS.first,
      reconnectionDelayMax: RETRY_MS.max,
      randomizationFactor: RETRY_MS.jitter,
    });
    this.#socket = socket;
    this.#reason = 'connecting';
    socket.io.on('open', () => {
      this.#heard();
      socket.io.engine.on('packet', () => this.#heard());
    });
    socket.on('hello', (bytes: unknown) => this.#welcome(socket, bytes));
    socket.on('connect_error', (error) => {
      const reason = describeConnectError(error);
      if (reason !== this.#reason) log.warn({ broker: target.id, url: target.url, reason }, 'broker connection failed');
      this.#reason = reason;
      // Refused by the broker itself: socket.io leaves it to us to try again.
      if (!socket.active) this.#retryLater(socket);
    });
    socket.on('disconnect', (reason) => {
      const wasConnected = this.#announced;
      if (wasConnected && reason === 'ping timeout') this.#hangs = true;
      this.#announced = false;
      if (wasConnected) {
        this.#reason = `the connection was lost: ${reason}`;
        log.warn({ broker: target.id, reason, count: this.#pending.size }, 'broker disconnected');
      }
      this.#failAll(({ startedAt }) => connectionLost(target.id, startedAt, reason));
      if (!socket.active) this.#retryLater(socket);
    });
    socket.connect();
  }

  /**
   * From now on this identity is shown. A connection that is there stays: its broker ends it when the certificate that
   * it has seen expires, and then the new one is shown.
   */
  renew(identity: Identity): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    const before = this.#agent;
    this.#agent = this.#agentOf(identity);
    Object.assign(socket.io.opts, v2eClientOptions(this.#agent));
    if (!this.connected) before?.destroy();
  }

  /** No resumed TLS sessions: every connection is checked in full, the broker's name included. */
  #agentOf(identity: Identity): Agent {
    return new Agent({ ...identity.clientOptions(this.#options.target.id), maxCachedSessions: 0 });
  }

  #heard(): void {
    this.#heardAt = performance.now();
    this.#hangs = false;
  }

  /** Milliseconds since its last bytes. */
  #silentMs(): number {
    return this.#heardAt === undefined ? 0 : performance.now() - this.#heardAt;
  }

  stop(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#announced = false;
    this.#reason = 'stopped';
    this.#failAll(() => new KerbError(ErrorCode.Cancelled, 'the OBU is stopping'));
    socket?.off();
    socket?.disconnect();
    this.#agent?.destroy();
    this.#agent = undefined;
  }

  /** As `Offloader.offload`; only while connected. `startedAt` is when the budget began to run (`performance.now()`). */
  send(request: OffloadRequest, startedAt: number): Promise<OffloadResult> {
    const socket = this.#socket;
    const { target } = this.#options;
    if (!this.connected || socket === undefined) {
      const message = `no connection to broker ${target.id} at ${target.url}: ${this.trouble}`;
      return Promise.reject(new KerbError(ErrorCode.NoBroker, message, { broker: target.id }));
    }
    // Checked here because socket.io would end the whole connection for it.
    const maxInput = this.#offers.find(({ digest }) => digest === request.taskDigest)?.maxInput ?? this.#maxInput;
    if (request.input.length > maxInput) {
      const message = `${request.input.length} bytes of input are more than the ${maxInput} that broker ${target.id} takes for this task`;
      return Promise.reject(new KerbError(ErrorCode.InputTooLarge, message, { maxInput }));
    }
    const leftMs = request.budgetMs - (performance.now() - startedAt);
    if (!(leftMs > 0))
      return Promise.reject(budgetExhausted(target.id, request, 'was spent before the offload was sent'));

    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(pending);
        // Silence does not say whether the task waits or runs there, or the answer is on its way.
        const how = `ended before broker ${target.id} answered: the task waited or ran too long there, or the way was too slow`;
        reject(budgetExhausted(target.id, request, how));
      }, leftMs);
      const pending: Pending = { request, startedAt, timer, resolve, reject };
      this.#pending.add(pending);
      const { id, taskDigest, input, priority, isolation } = request;
      // The way back counts too: the broker gives up in time for its answer to arrive. Never less than half of what is
      // left, so that one slow moment cannot make the estimate starve all that follow.
      const budgetMs = Math.max(leftMs - this.#onTheWayMs, leftMs / 2);
      const message = { id, taskDigest, input, budgetMs, priority, isolation };
      const bytes = encodeInPlace(WireRequest, message, input.length);
      socket.emit('offload', bytes, (reply: unknown) => this.#settle(pending, reply));
    });
  }

  #settle(pending: Pending, payload: unknown): void {
    // Too late: its budget is spent, or its connection was given up.
    if (!this.#pending.delete(pending)) return;
    clearTimeout(pending.timer);
    const totalMs = performance.now() - pending.startedAt;
    const { target } = this.#options;
    try {
      const reply = OffloadReply.decode(bytesOf(payload));
      this.#learn(totalMs - reply.heldMs);
      if (reply.result != null) {
        if (reply.id !== pending.request.id) throw new Error(`it answers ${reply.id}, not ${pending.request.id}`);
        const { output, queueMs, runMs, isolation } = reply.result;
        pending.resolve({
          output: output ?? new Uint8Array(0),
          place: this.place,
          isolation: isolation ?? '',
          queueMs: queueMs ?? 0,
          runMs: runMs ?? 0,
          totalMs,
        });
        return;
      }
      if (reply.refusal == null) throw new Error('it holds neither a result nor a refusal');
      pending.reject(failureOf(target.id, pending.request, refusalFrom(reply.refusal), totalMs));
    } catch (cause) {
      const message = `broker ${target.id} sent an answer that cannot be read: ${messageOf(cause)}`;
      pending.reject(new KerbError(ErrorCode.BadProtocolMessage, message, { broker: target.id }, { cause }));
    }
  }

  #welcome(socket: Socket, payload: unknown): void {
    const { target, log } = this.#options;
    try {
      const hello = ServiceAnnouncement.decode(bytesOf(payload));
      if (hello.version !== 1) throw new Error(`it speaks version ${hello.version} of the protocol, we speak 1`);
      this.#offers = hello.tasks.map(({ digest = '', name = '', version = '', maxInput = 0, maxOutput = 0 }) => {
        return {
          digest: digest ?? '',
          name: name ?? '',
          version: version ?? '',
          maxInput: maxInput ?? 0,
          maxOutput: maxOutput ?? 0,
        };
      });
      this.#maxInput = hello.maxInput;
      const what = this.#announced ? 'broker announced its tasks again' : 'broker connected';
      this.#announced = true;
      this.#reason = '';
      log.info({ broker: target.id, url: target.url, count: this.#offers.length }, what);
    } catch (error) {
      this.#reason = `its announcement cannot be used: ${messageOf(error)}`;
      log.warn({ broker: target.id, reason: this.#reason }, 'broker connection failed');
      socket.disconnect();
      this.#retryLater(socket);
    }
  }

  #retryLater(socket: Socket): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(
      () => {
        if (this.#socket === socket) socket.connect();
      },
      RETRY_MS.max * (1 - Math.random() * RETRY_MS.jitter),
    );
  }

  #failAll(error: (pending: Pending) => KerbError): void {
    const lost = [...this.#pending];
    this.#pending.clear();
    for (const pending of lost) {
      clearTimeout(pending.timer);
      pending.reject(error(pending));
    }
  }

  #learn(onTheWayMs: number): void {
    if (!(onTheWayMs >= 0)) return;
    this.#onTheWayMs =
      this.#onTheWayMs === 0 ? onTheWayMs : this.#onTheWayMs + (onTheWayMs - this.#onTheWayMs) * MEAN_WEIGHT;
  }
}

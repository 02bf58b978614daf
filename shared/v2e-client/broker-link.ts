import { Agent } from 'node:https';
import { io, type Socket } from 'socket.io-client';
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Identity } from '../identity/identity.ts';
import { V2E_VERSIONS } from '../protocol/greeting.ts';
import type { RoutedOffload } from '../protocol/offload-request.ts';
import { V2E_PING_MS, v2eClientOptions } from '../protocol/v2e-socket.ts';
import { type Announcement, type AskedEvent, decodeAnnouncement, type TaskOffer, wayOf } from './announcement.ts';
import { DrainWatch } from './drain-notice.ts';
import { connectionLost, describeConnectError, keepsNoState } from './link-errors.ts';
import type { BrokerResult, CallerTerms, PlaceStatus } from './offload-result.ts';
import { PendingOffloads } from './pending-offloads.ts';

export interface BrokerTarget {
  /** As in the broker's certificate; nobody else is spoken to. Undefined: any broker of the authority. */
  readonly id: string | undefined;
  /** "https://host:port" */
  readonly url: string;
}

export interface BrokerLinkOptions {
  readonly target: BrokerTarget;
  /** Why we have no good identity to show; empty when we have. */
  readonly identityTrouble: () => string;
  /** False: what is lost stays lost. Default: it connects again by itself for as long as it is started. */
  readonly reconnect?: boolean;
  /** It has been announced to, could not connect, or lost its connection. */
  readonly onChange?: () => void;
  readonly log: Logger;
}

const RETRY_MS = { first: 100, max: 2000, jitter: 0.5 };
const CONNECT_TIMEOUT_MS = 3000;
/** A broker says something every `V2E_PING_MS`. One that has been silent for this long does not answer. */
const SILENT_MS = 1.5 * V2E_PING_MS;

/**
 * The connection to one broker: socket.io over mutual TLS, reconnecting by itself (first after 100 ms, then ever later up
 * to 2 s, with jitter). Connected means authenticated both ways and announced.
 */
export class BrokerLink {
  readonly #options: BrokerLinkOptions;
  readonly #pending: PendingOffloads;
  readonly drain = new DrainWatch();
  #socket: Socket | undefined;
  #agent: Agent | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** The last one; still there when the connection is lost. */
  #hello: Announcement | undefined;
  #announced = false;
  #reason = 'not started';
  #lostBecause = '';
  /** `performance.now()` when its last bytes came; undefined before any did. */
  #heardAt: number | undefined;
  /** It was given up because it was silent, and has been since. */
  #hangs = false;

  constructor(options: BrokerLinkOptions) {
    this.#options = options;
    this.#pending = new PendingOffloads(() => this.broker);
  }

  /** Id of the broker; while any is meant and none has been met, its URL. */
  get broker(): string {
    return this.#options.target.id ?? this.#hello?.broker ?? this.#options.target.url;
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
    return this.connected ? (this.#hello?.tasks ?? []) : [];
  }

  /** Of the protocol, as the broker speaks it with us. */
  get version(): number {
    return this.#hello?.version ?? 1;
  }

  get features(): readonly string[] {
    return this.#hello?.features ?? [];
  }

  /** Bytes of input of this task that the broker takes. */
  maxInputOf(taskDigest: string): number {
    return this.offers.find(({ digest }) => digest === taskDigest)?.maxInput ?? this.#hello?.maxInput ?? 0;
  }

  get place(): string {
    return `broker:${this.broker}`;
  }

  get url(): string {
    return this.#options.target.url;
  }

  /** Why no offload goes there now; the same text as long as it is the same reason. */
  get trouble(): string {
    if (this.answers) return '';
    return this.connected ? 'no answer' : this.#options.identityTrouble() || this.#reason;
  }

  /** In the words of socket.io, why the last connection was lost. */
  get lostBecause(): string {
    return this.#lostBecause;
  }

  status(): PlaceStatus {
    const { answers, trouble } = this;
    const silentMs = answers || !(this.connected || this.#hangs) ? undefined : this.#silentMs();
    const seconds = silentMs === undefined ? '' : `no answer for ${(silentMs / 1000).toFixed(1)} s`;
    const reason = this.connected || seconds === '' ? seconds || trouble : `${seconds}: ${trouble}`;
    const { place, url, drain } = this;
    const more = { ...(silentMs !== undefined && { silentMs }), ...(drain.notice && { draining: true as const }) };
    return { place, url, connected: answers, reason, ...more };
  }

  /** Begins to connect; returns at once. */
  start(identity: Identity): void {
    const { target, reconnect = true, log } = this.#options;
    this.#agent = this.#agentOf(identity);
    const socket = io(target.url, {
      ...v2eClientOptions(this.#agent),
      timeout: CONNECT_TIMEOUT_MS,
      reconnection: reconnect,
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
    this.drain.follow(socket, () => this.#changed());
    this.#pending.follow(socket);
    socket.on('connect_error', (error) => {
      const reason = describeConnectError(error);
      if (reason !== this.#reason)
        log.warn({ broker: this.broker, url: target.url, reason }, 'broker connection failed');
      this.#reason = reason;
      // Refused by the broker itself: socket.io leaves it to us to try again.
      if (!socket.active) this.#retryLater(socket);
      this.#changed();
    });
    socket.on('disconnect', (reason) => {
      const wasConnected = this.#announced;
      if (wasConnected && reason === 'ping timeout') this.#hangs = true;
      this.#announced = false;
      if (wasConnected) {
        this.#lostBecause = reason;
        this.#reason = `the connection was lost: ${reason}`;
        log.warn({ broker: this.broker, reason, count: this.#pending.count }, 'broker disconnected');
      }
      this.#pending.failAll(({ request }) => connectionLost(this.broker, request.deadline, reason));
      if (!socket.active) this.#retryLater(socket);
      this.#changed();
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

  /** @param who ends it, for whoever still waits: "the OBU is stopping" */
  stop(who: string): void {
    const socket = this.#socket;
    this.#socket = undefined;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#announced = false;
    this.#reason = 'stopped';
    this.#pending.stop(() => new KerbError(ErrorCode.Cancelled, who));
    socket?.off();
    socket?.disconnect();
    this.#agent?.destroy();
    this.#agent = undefined;
  }

  /**
   * Settles within the deadline of the request (plus the time that a timer needs), whatever the network does.
   * @throws KerbError NoBroker | InputTooLarge | BrokerLost | BudgetExhausted | OffloadRefused (context.refusal: code of
   * the broker) | BadProtocolMessage | Cancelled
   */
  send(request: RoutedOffload, terms: CallerTerms): Promise<BrokerResult> {
    const socket = this.#socket;
    if (!this.connected || socket === undefined) return Promise.reject(this.#notConnected());
    if (terms.state !== undefined && !this.features.includes('state')) return Promise.reject(keepsNoState(this.broker));
    // Checked here because socket.io would end the whole connection for it.
    const maxInput = this.maxInputOf(request.taskDigest);
    if (request.input.length > maxInput) {
      const message = `${request.input.length} bytes of input are more than the ${maxInput} that broker ${this.broker} takes for this task`;
      return Promise.reject(new KerbError(ErrorCode.InputTooLarge, message, { maxInput }));
    }
    return this.#pending.send(socket, request, terms, wayOf(this.#hello!, request.taskDigest));
  }

  /** Offloads of this id fail with Cancelled, and the broker gets a cancel for them. */
  cancel(id: string): void {
    this.#pending.cancel(id);
  }

  /**
   * Sends a message that is no offload, and resolves with what the broker acknowledges it with.
   * @param ifSilent the likely cause when no answer comes within `limitMs`
   * @throws KerbError NoBroker | BrokerLost
   */
  async ask(event: AskedEvent, bytes: Uint8Array, limitMs: number, ifSilent: string): Promise<unknown> {
    const socket = this.#socket;
    if (!this.connected || socket === undefined) throw this.#notConnected();
    try {
      return await socket.timeout(limitMs).emitWithAck(event, bytes);
    } catch {
      const { broker } = this;
      const why = this.connected
        ? `has not answered for ${limitMs / 1000} s; ${ifSilent}`
        : `has disconnected: ${this.#reason}`;
      throw new KerbError(ErrorCode.BrokerLost, `broker ${broker} ${why}`, { broker });
    }
  }

  #notConnected(): KerbError {
    const { broker, url } = this;
    return new KerbError(ErrorCode.NoBroker, `no connection to broker ${broker} at ${url}: ${this.trouble}`, {
      broker,
    });
  }

  #changed(): void {
    this.#options.onChange?.();
  }

  #welcome(socket: Socket, payload: unknown): void {
    const { target, log } = this.#options;
    try {
      const hello = decodeAnnouncement(payload);
      if (!V2E_VERSIONS.includes(hello.version)) {
        const ours = V2E_VERSIONS.join(' and ');
        throw new Error(`it speaks version ${hello.version} of the protocol, we speak ${ours}`);
      }
      this.#hello = hello;
      const what = this.#announced ? 'broker announced its tasks again' : 'broker connected';
      this.#announced = true;
      this.#reason = '';
      log.info({ broker: this.broker, url: target.url, count: hello.tasks.length }, what);
    } catch (error) {
      this.#reason = `its announcement cannot be used: ${messageOf(error)}`;
      log.warn({ broker: this.broker, reason: this.#reason }, 'broker connection failed');
      socket.disconnect();
      this.#retryLater(socket);
    }
    this.#changed();
  }

  #retryLater(socket: Socket): void {
    if (this.#options.reconnect === false) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(
      () => {
        if (this.#socket === socket) socket.connect();
      },
      RETRY_MS.max * (1 - Math.random() * RETRY_MS.jitter),
    );
  }
}

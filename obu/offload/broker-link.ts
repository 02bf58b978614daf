import { Agent } from 'node:https';
import { io, type Socket } from 'socket.io-client';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { V2E_VERSIONS } from '../../shared/protocol/greeting.ts';
import type { RoutedOffload } from '../../shared/protocol/offload-request.ts';
import { V2E_PING_MS, v2eClientOptions } from '../../shared/protocol/v2e-socket.ts';
import { decodeAnnouncement, type TaskOffer } from '../../shared/v2e-client/announcement.ts';
import { connectionLost, describeConnectError } from './link-errors.ts';
import type { OffloadResult, PlaceStatus } from './offloader.ts';
import { PendingOffloads } from './pending-offloads.ts';

export interface BrokerTarget {
  /** As in the broker's certificate; nobody else is spoken to. */
  readonly id: string;
  /** "https://host:port" */
  readonly url: string;
}

export interface BrokerLinkOptions {
  readonly target: BrokerTarget;
  /** Why we have no good identity to show; empty when we have. */
  readonly identityTrouble: () => string;
  readonly log: Logger;
}

const RETRY_MS = { first: 100, max: 2000, jitter: 0.5 };
const CONNECT_TIMEOUT_MS = 3000;
/** A broker says something every `V2E_PING_MS`. One that has been silent for this long does not answer. */
const SILENT_MS = 1.5 * V2E_PING_MS;

/**
 * The connection to one broker: socket.io over mutual TLS, reconnecting by itself for as long as it is started (first
 * after 100 ms, then ever later up to 2 s, with jitter). Connected means authenticated both ways and announced.
 */
export class BrokerLink {
  readonly #options: BrokerLinkOptions;
  readonly #pending: PendingOffloads;
  #socket: Socket | undefined;
  #agent: Agent | undefined;
  #retry: NodeJS.Timeout | undefined;
  #offers: readonly TaskOffer[] = [];
  #maxInput = 0;
  /** Of the protocol, as the broker speaks it with us. */
  #version = 1;
  #announced = false;
  #reason = 'not started';
  /** `performance.now()` when its last bytes came; undefined before any did. */
  #heardAt: number | undefined;
  /** It was given up because it was silent, and has been since. */
  #hangs = false;

  constructor(options: BrokerLinkOptions) {
    this.#options = options;
    this.#pending = new PendingOffloads(options.target.id);
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
        log.warn({ broker: target.id, reason, count: this.#pending.count }, 'broker disconnected');
      }
      this.#pending.failAll(({ request }) => connectionLost(target.id, request.deadline, reason));
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
    this.#pending.failAll(() => new KerbError(ErrorCode.Cancelled, 'the OBU is stopping'));
    socket?.off();
    socket?.disconnect();
    this.#agent?.destroy();
    this.#agent = undefined;
  }

  /** As `Offloader.offload`; only while connected. */
  send(request: RoutedOffload): Promise<OffloadResult> {
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
    return this.#pending.send(socket, request, this.#version);
  }

  #welcome(socket: Socket, payload: unknown): void {
    const { target, log } = this.#options;
    try {
      const hello = decodeAnnouncement(payload);
      if (!V2E_VERSIONS.includes(hello.version)) {
        const ours = V2E_VERSIONS.join(' and ');
        throw new Error(`it speaks version ${hello.version} of the protocol, we speak ${ours}`);
      }
      this.#version = hello.version;
      this.#offers = hello.tasks;
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
}

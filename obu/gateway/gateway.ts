import type { Server as NetServer, Socket } from 'node:net';
import { dirname } from 'node:path';
import nodeIpc, { type Server } from 'node-ipc';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { GrantGuard, type Offers } from '../grants/grants.ts';
import type { Workload } from '../manifest/workload.ts';
import type { Offloader } from '../offload/offloader.ts';
import { CONNECT_BURST, CONNECTS_PER_SECOND, ConnectLimit } from './connect-limit.ts';
import { Connection } from './connection.ts';
import type { ConnectionContext, GatewayMeter } from './connection-context.ts';
import { KuksaEndpoint } from './kuksa/endpoint.ts';
import { LogLimit } from './log-limit.ts';
import { CanService } from './services/can-service.ts';
import { OffloadService } from './services/offload-service.ts';
import { SignalService } from './services/signal-service.ts';
import { StateService } from './services/state-service.ts';

/** Connections that one container may have open. */
export const MAX_CONNECTIONS = 4;
/** Longest path of a Unix socket on Linux: `sun_path` has 108 bytes and ends with a zero. */
export const MAX_SOCKET_PATH = 107;

export interface GatewayParts {
  readonly vehicle: string;
  readonly obu: string;
  readonly offers: Offers;
  readonly offloader: Offloader;
  readonly meter: GatewayMeter;
  readonly log: Logger;
}

export interface GatewayOptions {
  /** The container has run since before this OBU was started, and knows its token already. */
  readonly isAdopted?: boolean;
}

/**
 * The gateway of one container: a socket that only this container can reach, and that serves exactly the grants of its
 * workload, as the manifest has them at this moment.
 */
export class Gateway {
  readonly #name: string;
  readonly #socketPath: string;
  readonly #parts: GatewayParts;
  readonly #guard: GrantGuard;
  readonly #offloads: OffloadService;
  readonly #signals: SignalService;
  readonly #context: ConnectionContext;
  readonly #connections = new Map<Socket, Connection>();
  readonly #limit = new ConnectLimit();
  readonly #kuksa: KuksaEndpoint;
  #server: Server | undefined;
  #awakeSinceMs: number | undefined = Number.NEGATIVE_INFINITY;
  #priority: number;

  constructor(workload: Workload, socketPath: string, parts: GatewayParts, { isAdopted = false }: GatewayOptions = {}) {
    const guard = new GrantGuard(workload, parts.offers);
    this.#guard = guard;
    this.#name = workload.name;
    this.#priority = workload.priority;
    this.#socketPath = socketPath;
    this.#parts = parts;
    this.#offloads = new OffloadService({
      scope: `${parts.vehicle}/${workload.name}`,
      priority: () => this.#priority,
      guard,
      offloader: parts.offloader,
    });
    const { vehicle, obu, meter, log } = parts;
    this.#signals = new SignalService(workload.name, guard, meter);
    const limit = new LogLimit((skipped) =>
      log.warn({ workload: workload.name, count: skipped }, 'further refusals were not logged'),
    );
    const mayLog = () => limit.take();
    const awakeSinceMs = () => this.#awakeSinceMs;
    const can = new CanService({ guard, onDenied: (reason) => meter.canDenied(workload.name, reason) });
    this.#context = {
      vehicle,
      obu,
      guard,
      offloads: this.#offloads,
      state: new StateService(guard, parts.offloader),
      can,
      signals: this.#signals,
      meter,
      log,
      mayLog,
      awakeSinceMs,
    };
    this.#kuksa = this.#makeKuksa(isAdopted);
  }

  /** Whether its container is frozen: what can do nothing is not blamed for doing nothing. */
  set frozen(frozen: boolean) {
    this.#awakeSinceMs = frozen ? undefined : performance.now();
  }

  get workload(): Workload {
    return this.#guard.workload;
  }

  /**
   * The manifest has changed: from now on these are the grants. What is no longer granted ends at once; an offload that
   * is under way is brought to its end.
   */
  regrant(workload: Workload): void {
    const before = this.#guard.workload.grants;
    this.#guard.regrant(workload);
    const kinds = (['can', 'signals', 'cameras'] as const).filter(
      (kind) => JSON.stringify(before[kind]) !== JSON.stringify(workload.grants[kind]),
    );
    if (kinds.length === 0) return;
    for (const connection of this.#connections.values()) connection.regrant(new Set(kinds));
    if (!kinds.includes('signals')) return;
    this.#signals.close();
    this.#kuksa.regrant();
  }

  /** Of offloads that are handed in from now on. */
  set priority(priority: number) {
    this.#priority = priority;
  }

  /** Listens; a socket file that a dead process left is replaced. @throws KerbError GatewayUnavailable */
  async start(): Promise<void> {
    if (Buffer.byteLength(this.#socketPath) > MAX_SOCKET_PATH) {
      throw this.#unavailable(`the path of its socket is longer than ${MAX_SOCKET_PATH} bytes`);
    }
    // An IPC of its own: what node-ipc calls its configuration is global to one instance.
    const ipc = new nodeIpc.IPC();
    Object.assign(ipc.config, {
      id: this.#name,
      silent: true,
      rawBuffer: true,
      maxConnections: MAX_CONNECTIONS,
      unlink: true,
      // Any user of the container may connect; the folder above keeps everybody else out.
      readableAll: true,
      writableAll: true,
    });
    ipc.serve(this.#socketPath);
    const server = ipc.server as Server;
    this.#server = server;
    server.on('connect', (socket) => this.#connected(server, socket));
    server.on('data', (data, socket) => this.#connections.get(socket)?.receive(data));
    server.on('close', (socket) => this.#disconnected(socket));
    await new Promise<void>((resolve, reject) => {
      server.on('start', resolve);
      // Before the start it is the listener that failed, after it a connection: those are reset all the time.
      server.on('error', (error) => {
        this.#parts.log.debug({ workload: this.#name, err: messageOf(error) }, 'gateway socket error');
        reject(this.#unavailable(messageOf(error)));
      });
      try {
        server.start();
      } catch (error) {
        reject(this.#unavailable(messageOf(error)));
      }
    });
    const listener = server.server as NetServer;
    listener.on('drop', () => this.#crowded(MAX_CONNECTIONS));
    await this.#kuksa.start();
  }

  /** Ends every connection and removes the socket file. Safe to call twice and during `start()`. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.#offloads.clear();
    await this.#kuksa.stop();
    this.#signals.close();
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
    if (server === undefined) return;
    const listener = server.server;
    const closed =
      listener && listener.listening === true ? new Promise((resolve) => listener.once('close', resolve)) : undefined;
    server.stop();
    await closed;
  }

  #makeKuksa(keepToken: boolean): KuksaEndpoint {
    const name = this.#name;
    const { meter, log, mayLog } = this.#context;
    return new KuksaEndpoint({
      workload: name,
      folder: dirname(this.#socketPath),
      keepToken,
      service: this.#signals,
      onDrop: (count) => meter.signalsDropped(name, count),
      onFailure: (error) => {
        meter.failure(name, error);
        if (mayLog())
          log.warn({ workload: name, code: error.code, reason: error.message }, 'kuksa.val request refused');
      },
      onDefect: (error) => log.error({ workload: name, err: error }, 'unexpected error in kuksa.val'),
      onCrowded: (limit) => this.#crowded(limit),
    });
  }

  #crowded(limit: number): void {
    this.#turnAway(`it has ${limit} connections open, which is the limit`);
  }

  #connected(server: Server, socket: Socket): void {
    if (!this.#limit.take()) {
      socket.destroy();
      this.#turnAway(
        `it has opened ${CONNECT_BURST} connections in a row and opens more than ${CONNECTS_PER_SECOND} per second`,
      );
      return;
    }
    this.#connections.set(socket, new Connection(socket, (bytes) => server.emit(socket, bytes), this.#context));
  }

  #disconnected(socket: Socket): void {
    this.#connections.get(socket)?.close();
    this.#connections.delete(socket);
  }

  #turnAway(why: string): void {
    const name = this.#name;
    const { meter, log, mayLog } = this.#context;
    const error = new KerbError(ErrorCode.TooManyRequests, `${why}; another one was refused`, { workload: name });
    meter.failure(name, error);
    if (mayLog()) log.warn({ workload: name, code: error.code, reason: error.message }, 'gateway connection refused');
  }

  #unavailable(why: string): KerbError {
    const name = this.#name;
    return new KerbError(
      ErrorCode.GatewayUnavailable,
      `cannot serve the gateway of workload ${name} at ${this.#socketPath}: ${why}`,
      { workload: name, socketPath: this.#socketPath },
    );
  }
}

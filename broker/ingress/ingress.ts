import { createServer, type Server as HttpsServer } from 'node:https';
import type { AddressInfo, Socket as NetSocket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Server, type Socket } from 'socket.io';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { refusalOf } from '../../shared/base/refusal.ts';
import { listenFault } from '../../shared/host/listen.ts';
import type { Identity, VehiclePrincipal } from '../../shared/identity/identity.ts';
import { commonVersion, greetingFrom, V2E_VERSIONS } from '../../shared/protocol/greeting.ts';
import { V2E_PING_MS, V2E_TRANSPORT } from '../../shared/protocol/v2e-socket.ts';
import { badPush, encodePushRefusal } from '../../shared/task-package/push-codec.ts';
import type { Answer, IncomingOffload } from '../offloads/offload.ts';
import type { PushClient } from '../packages/push-session.ts';
import { decodeOffload, encodeRefusal, encodeResult } from './codec.ts';
import { Connections } from './connections.ts';

export interface IngressOptions {
  readonly identity: Identity;
  readonly listen: { readonly host: string; readonly port: number };
  /** Largest input of any task, in bytes. */
  readonly maxInput: number;
  /** Connections at the same time. */
  readonly maxClients: number;
  /** An encoded ServiceAnnouncement, for one client. */
  readonly announcement: (client: ConnectedVehicle) => Uint8Array;
  readonly submit: (offload: IncomingOffload, answer: Answer) => void;
  /** A vehicle is there; the result is called when its connection has ended. */
  readonly onConnected: (client: ConnectedVehicle) => () => void;
  /** Takes what a new connection pushes. */
  readonly pushes: (client: VehiclePrincipal) => PushClient;
  /** A client was turned away, or sent something that could not be used. */
  readonly onRefused: (client: string, error: KerbError) => void;
  readonly log: Logger;
}

/** Room for the message around an input, and for socket.io's own packets. */
const MESSAGE_ROOM = 64 * 1024;
/**
 * A radio that is gone says nothing: a silent client is given up after ten seconds, a ping included. How long a pong may take: it waits behind whatever large message is on its way, and 4 MiB over 10 Mbit/s take 3.4 s. A
 * link that is silently gone costs nobody more than this, because each offload ends with its own budget.
 */
const PING_TIMEOUT_MS = 8000;
const CONNECT_TIMEOUT_MS = 5000;
const CLOSE_TIMEOUT_MS = 500;
/** Bytes of answers that a client may leave unread. */
const MAX_UNREAD = 64 * 1024 * 1024;

/** Who a connection belongs to, and until when that is so; `version` is of the protocol. */
export interface ConnectedVehicle extends VehiclePrincipal {
  readonly version: number;
}
interface SocketData {
  client: ConnectedVehicle;
}
type NoEvents = Record<string, never>;
type ClientEvents = Record<
  'offload' | 'push' | 'cancel' | 'describe' | (typeof RESERVED_EVENTS)[number],
  (payload: unknown, reply: unknown) => void
>;
/** Of version 2, and done by none of this version. */
const RESERVED_EVENTS = ['chunk', 'claim', 'credit', 'offer'] as const;
type BrokerEvents = { hello: (announcement: Uint8Array) => void };
type ClientSocket = Socket<ClientEvents, BrokerEvents, NoEvents, SocketData>;

/**
 * Where vehicles come in: socket.io on WebSocket over mutual TLS 1.3. Only vehicles of a believed authority get as far as
 * sending anything. Whatever a client sends, it costs at most its own connection.
 */
export class Ingress {
  readonly #options: IngressOptions;
  readonly #connections: Connections;
  #stopping = false;
  #listening: Promise<void> = Promise.resolve();
  #https: HttpsServer | undefined;
  #io: Server<ClientEvents, BrokerEvents, NoEvents, SocketData> | undefined;

  constructor(options: IngressOptions) {
    this.#options = options;
    this.#connections = new Connections(options.maxClients);
  }

  get port(): number {
    return (this.#https?.address() as AddressInfo | null)?.port ?? 0;
  }

  get clients(): number {
    return this.#io?.sockets.sockets.size ?? 0;
  }

  /** @throws KerbError BadConfig when it cannot listen there */
  async start(): Promise<void> {
    const { identity, listen, maxInput, log } = this.#options;
    const https = createServer(
      {
        ...identity.serverOptions(),
        handshakeTimeout: CONNECT_TIMEOUT_MS,
        headersTimeout: CONNECT_TIMEOUT_MS,
        requestTimeout: CONNECT_TIMEOUT_MS,
        connectionsCheckingInterval: CONNECT_TIMEOUT_MS,
      },
      // socket.io answers for its own path only.
      (_request, response) => response.writeHead(404, { connection: 'close' }).end(),
    );
    https.on('connection', (socket: NetSocket) => this.#connections.meet(socket));
    https.on('secureConnection', (socket: TLSSocket) => this.#connections.known(socket));
    https.on('tlsClientError', (error, socket) => {
      this.#options.onRefused(
        socket.remoteAddress ?? 'a client',
        new KerbError(ErrorCode.Unauthenticated, `the TLS handshake failed: ${messageOf(error)}`, {}, { cause: error }),
      );
    });
    const io = new Server<ClientEvents, BrokerEvents, NoEvents, SocketData>(https, {
      ...V2E_TRANSPORT,
      perMessageDeflate: false,
      httpCompression: false,
      serveClient: false,
      maxHttpBufferSize: maxInput + MESSAGE_ROOM,
      pingInterval: V2E_PING_MS,
      pingTimeout: PING_TIMEOUT_MS,
      connectTimeout: CONNECT_TIMEOUT_MS,
    });
    this.#https = https;
    this.#io = io;
    io.use((socket, next) => {
      try {
        socket.data.client = this.#authenticate(socket);
        next();
      } catch (error) {
        // The message reaches the client as its connect_error.
        const reason = isKerbError(error) ? error : unauthenticated(messageOf(error));
        this.#options.onRefused(socket.handshake.address, reason);
        next(reason);
      }
    });
    io.on('connection', (socket) => this.#serve(socket));

    this.#listening = new Promise<void>((resolve, reject) => {
      https.once('error', (error) => {
        const where = `${listen.host}:${listen.port}`;
        reject(
          new KerbError(
            ErrorCode.BadConfig,
            `cannot listen on ${where}: ${listenFault(error)}`,
            { where },
            { cause: error },
          ),
        );
      });
      https.listen(listen.port, listen.host, resolve);
    });
    await this.#listening;
    https.on('error', (error) => log.error({ err: messageOf(error) }, 'the listening socket failed'));
  }

  /** Tells every client anew what there is. */
  announce(): void {
    for (const socket of this.#io?.sockets.sockets.values() ?? []) this.#greet(socket);
  }

  /** New connections meet this identity; those that are there go on. */
  renew(identity: Identity): void {
    this.#https?.setSecureContext(identity.serverOptions());
  }

  /** Ends every connection. */
  async stop(): Promise<void> {
    const io = this.#io;
    const https = this.#https;
    this.#io = undefined;
    this.#https = undefined;
    if (io === undefined || https === undefined) return;
    // A server that is closed before it listens would listen all the same a moment later.
    await this.#listening.catch(() => {});
    // Whatever was answered is written first. A client that does not close in time is cut off.
    this.#stopping = true;
    io.disconnectSockets(true);
    https.closeIdleConnections();
    await this.#connections.close(CLOSE_TIMEOUT_MS);
    await io.close();
  }

  #greet(socket: ClientSocket): void {
    socket.emit('hello', this.#options.announcement(socket.data.client));
  }

  #authenticate(socket: ClientSocket): ConnectedVehicle {
    const { identity } = this.#options;
    if (this.#stopping) throw new KerbError(ErrorCode.BrokerStopping, 'this broker is stopping; use another one');
    const peer = identity.peerOf(socket.request.socket as TLSSocket);
    if (peer.kind !== 'vehicle') {
      throw unauthenticated(`only vehicles are served here; the certificate is of ${peer.kind} ${peer.id}`);
    }
    return { ...peer, version: this.#versionFor(socket) };
  }

  #versionFor(socket: ClientSocket): number {
    let versions: readonly number[];
    try {
      ({ versions } = greetingFrom(socket.handshake.auth));
    } catch (error) {
      throw new KerbError(ErrorCode.BadProtocolMessage, `the greeting cannot be used: ${messageOf(error)}`);
    }
    const version = commonVersion(versions);
    if (version !== undefined) return version;
    throw new KerbError(
      ErrorCode.NotSupported,
      `this broker speaks versions ${V2E_VERSIONS.join(' and ')} of V2E, and the client ${versions.join(', ')}`,
    );
  }

  #serve(socket: ClientSocket): void {
    const { pushes, onConnected, log } = this.#options;
    const { client } = socket.data;
    log.info({ vehicle: client.id, tenant: client.tenant }, 'vehicle connected');
    socket.on('disconnect', (reason) => log.info({ vehicle: client.id, reason }, 'vehicle disconnected'));
    socket.on('disconnect', onConnected(client));
    const unread = { bytes: 0 };
    // Everything has been handed to the TLS socket, which counts its own part.
    socket.conn.on('drain', () => {
      unread.bytes = 0;
    });
    socket.on('offload', (payload, reply) => this.#takeOffload(socket, client, unread, payload, reply));
    const push = pushes(client);
    socket.on('push', (payload, reply) => this.#takePush(socket, client, push, payload, reply));
    socket.on('disconnect', () => void push.end());
    this.#greet(socket);
  }

  #takeOffload(
    socket: ClientSocket,
    client: ConnectedVehicle,
    unread: { bytes: number },
    payload: unknown,
    reply: unknown,
  ): void {
    const arrivedAt = performance.now();
    if (!Buffer.isBuffer(payload) || typeof reply !== 'function') {
      // There is nothing to answer with: what speaks so is no client of ours.
      this.#giveUp(socket, client, badRequest('an offload needs one binary argument and an acknowledgement'));
      return;
    }
    if (unread.bytes + socket.request.socket.writableLength > MAX_UNREAD) {
      this.#giveUp(socket, client, badRequest(`more than ${MAX_UNREAD} bytes of answers were left unread`));
      return;
    }
    const send = (bytes: Uint8Array): void => {
      unread.bytes += bytes.length;
      reply(bytes);
    };
    if (client.expiresAt < Date.now()) {
      const expired = unauthenticated('the certificate of this vehicle has expired since it connected');
      send(encodeRefusal('', refusalOf(expired), 0));
      this.#giveUp(socket, client, expired);
      return;
    }
    let offload: IncomingOffload;
    try {
      offload = decodeOffload(payload, client, arrivedAt);
    } catch (error) {
      const problem = isKerbError(error) ? error : badRequest(messageOf(error));
      this.#options.onRefused(`vehicle ${client.id}`, problem);
      send(encodeRefusal(String(problem.context.id ?? ''), refusalOf(problem), 0));
      return;
    }
    const { id } = offload;
    const broker = this.#options.identity.self.id;
    this.#options.submit(offload, (result, refusal) => {
      const heldMs = performance.now() - arrivedAt;
      if (result !== undefined) send(encodeResult(id, result, broker, heldMs));
      else if (refusal !== undefined) send(encodeRefusal(id, refusal, heldMs));
    });
  }

  #takePush(socket: ClientSocket, client: VehiclePrincipal, push: PushClient, payload: unknown, reply: unknown): void {
    if (!Buffer.isBuffer(payload) || typeof reply !== 'function') {
      this.#giveUp(socket, client, badPush('it needs one binary argument and an acknowledgement'));
      return;
    }
    if (client.expiresAt < Date.now()) {
      const expired = unauthenticated('the certificate of this vehicle has expired since it connected');
      reply(encodePushRefusal(expired));
      this.#giveUp(socket, client, expired);
      return;
    }
    void push.take(payload).then((bytes) => reply(bytes));
  }

  #giveUp(socket: ClientSocket, client: VehiclePrincipal, problem: KerbError): void {
    this.#options.onRefused(`vehicle ${client.id}`, problem);
    socket.disconnect(true);
  }
}

function unauthenticated(message: string): KerbError {
  return new KerbError(ErrorCode.Unauthenticated, message);
}

const badRequest = (message: string) => new KerbError(ErrorCode.BadOffloadRequest, message);

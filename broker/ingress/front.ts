/** The servers in front of the ingress: HTTPS for the handshake and the upgrade, socket.io behind it. */
import type { IncomingMessage } from 'node:http';
import { createServer, type Server as HttpsServer } from 'node:https';
import type { Socket as NetSocket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Server } from 'socket.io';
import type { Identity } from '../../shared/identity/identity.ts';
import { V2E_PATH, V2E_PING_MS, V2E_TRANSPORT } from '../../shared/protocol/v2e-socket.ts';
import type { NeighbourDoor } from './link-types.ts';
import { type UsedWebSocket, type WebSocketUser, webSocketServer } from './web-sockets.ts';

/** Room for the message around an input, and for socket.io's own packets. */
const MESSAGE_ROOM = 64 * 1024;
/** So that the largest value of a state has room whatever the tasks are. */
const LEAST_INPUT = 4096;
/**
 * A radio that is gone says nothing: a silent client is given up after ten seconds, a ping included. How long a pong may
 * take: it waits behind whatever large message is on its way, and 4 MiB over 10 Mbit/s take 3.4 s. A link that is
 * silently gone costs no more than this, because each offload ends with its own budget.
 */
export const PING_TIMEOUT_MS = 8000;
const CONNECT_TIMEOUT_MS = 5000;

export interface HandshakeRules {
  /** A client has connected. @param proceed begins the handshake */
  meet(socket: NetSocket, proceed: () => void): void;
  /** The handshake is done, and nothing that the client has sent since was looked at. */
  authenticate(socket: TLSSocket): void;
  failed(socket: NetSocket, reason: string): void;
}

export function httpsServer(identity: Identity, rules: HandshakeRules): HttpsServer {
  const https = createServer({
    ...identity.serverOptions(),
    pauseOnConnect: true,
    handshakeTimeout: CONNECT_TIMEOUT_MS,
    headersTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: CONNECT_TIMEOUT_MS,
    connectionsCheckingInterval: CONNECT_TIMEOUT_MS,
  });
  // Node's own listener begins the handshake; it is called when it is the turn of this connection.
  const handshakes = https.listeners('connection') as ((this: HttpsServer, socket: NetSocket) => void)[];
  https.removeAllListeners('connection');
  https.on('connection', (socket: NetSocket) => {
    rules.meet(socket, () => {
      for (const begin of handshakes) begin.call(https, socket);
    });
  });
  https.prependListener('secureConnection', (socket: TLSSocket) => rules.authenticate(socket));
  https.on('tlsClientError', (error, socket) => rules.failed(socket, tlsReason(error)));
  return https;
}

export interface UpgradeRules {
  /** It is left without an answer. */
  isHeld(connection: TLSSocket): boolean;
  /** For the WebSocket of a connection, before its first message. */
  userOf(connection: TLSSocket, webSocket: UsedWebSocket): WebSocketUser;
}

/**
 * @param maxInput bytes of the largest input
 * @param neighbours takes the upgrades of brokers
 */
export function socketIoServer(
  https: HttpsServer,
  maxInput: number,
  rules: UpgradeRules,
  neighbours?: NeighbourDoor,
): Server {
  const maxPayload = Math.max(maxInput, LEAST_INPUT) + MESSAGE_ROOM;
  const io = new Server(https, {
    ...V2E_TRANSPORT,
    perMessageDeflate: false,
    httpCompression: false,
    serveClient: false,
    maxHttpBufferSize: maxPayload,
    pingInterval: V2E_PING_MS,
    pingTimeout: PING_TIMEOUT_MS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    wsEngine: webSocketServer(maxPayload, (connection, webSocket) => rules.userOf(connection as TLSSocket, webSocket)),
  });
  // socket.io would answer for its path, on a connection that is kept, and take a second connection for the first one.
  https.removeAllListeners('request');
  https.on('request', (_request, response) => response.writeHead(404, { connection: 'close' }).end());
  https.removeAllListeners('upgrade');
  https.on('upgrade', (request: IncomingMessage, socket: TLSSocket, head: Buffer) => {
    if (neighbours?.upgrade(request, socket, head)) return;
    if (rules.isHeld(socket)) leave(socket);
    else if (isUpgrade(request)) io.engine.handleUpgrade(request as never, socket, head);
    else socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n', () => socket.destroy());
  });
  return io;
}

/** The private fields of an engine.io socket that are used here: its request and the timers of its pings. */
interface Insides {
  request: unknown;
  pingIntervalTimer: NodeJS.Timeout | null;
  pingTimeoutTimer: NodeJS.Timeout | null;
}

/** A connection has what it needed of its request (https://socket.io/docs/v4/memory-usage/), and its pings are ours now. */
export function takeOver(made: object): void {
  const insides = made as Insides;
  clearTimeout(insides.pingIntervalTimer ?? undefined);
  clearTimeout(insides.pingTimeoutTimer ?? undefined);
  insides.pingIntervalTimer = null;
  insides.pingTimeoutTimer = null;
  insides.request = null;
}

/** It is not answered. Whatever it says next ends it. */
function leave(socket: TLSSocket): void {
  for (const event of ['data', 'end', 'error']) socket.once(event, () => socket.destroy());
}

export function addressOf({ remoteAddress }: NetSocket): string {
  return remoteAddress ?? 'a client';
}

/** An upgrade as socket.io's client asks for it. A `sid` would name the connection of another client, to go on with. */
function isUpgrade({ url = '' }: IncomingMessage): boolean {
  const [path, query] = url.split('?');
  if (path !== `${V2E_PATH}/` && path !== V2E_PATH) return false;
  const asked = new URLSearchParams(query);
  return asked.get('EIO') === '4' && asked.get('transport') === 'websocket' && !asked.has('sid');
}

/** OpenSSL's whole message names files and addresses of the machine on which Node was built, and of this one. */
function tlsReason(error: Error): string {
  const { reason, code } = error as Error & { reason?: string; code?: string };
  return reason ?? code ?? 'it was broken off';
}

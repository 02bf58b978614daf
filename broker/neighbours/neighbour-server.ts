import { createServer, type IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { Server, type Socket } from 'socket.io';
import { V2E_PING_MS, V2E_TRANSPORT } from '../../shared/protocol/v2e-socket.ts';
import { MAX_MESSAGE } from './neighbour-link.ts';

export const NEIGHBOUR_PATH = '/neighbours';
/** Of what neighbours say to each other. */
export const NEIGHBOUR_VERSION = 1;
const PING_TIMEOUT_MS = 8000;

/** Takes connections of neighbours over that have come to the port where vehicles come, and have shown a certificate. */
export class NeighbourServer {
  readonly #io: Server;

  constructor(onConnected: (socket: Socket, connection: TLSSocket) => void) {
    // It never listens: connections are handed to it.
    this.#io = new Server(createServer(), {
      ...V2E_TRANSPORT,
      path: NEIGHBOUR_PATH,
      perMessageDeflate: false,
      httpCompression: false,
      serveClient: false,
      maxHttpBufferSize: MAX_MESSAGE,
      pingInterval: V2E_PING_MS,
      pingTimeout: PING_TIMEOUT_MS,
      connectTimeout: 5000,
    });
    this.#io.use((socket, next) => {
      const versions: unknown = (socket.handshake.auth as { versions?: unknown }).versions;
      const isKnown = Array.isArray(versions) && versions.includes(NEIGHBOUR_VERSION);
      next(isKnown ? undefined : new Error(`this broker speaks version ${NEIGHBOUR_VERSION} with its neighbours`));
    });
    this.#io.on('connection', (socket) => onConnected(socket, socket.request.socket as TLSSocket));
  }

  /** False: it is not for neighbours. */
  upgrade(request: IncomingMessage, socket: TLSSocket, head: Buffer): boolean {
    const [path, query] = (request.url ?? '').split('?');
    if (path !== `${NEIGHBOUR_PATH}/`) return false;
    const asked = new URLSearchParams(query);
    if (asked.get('EIO') !== '4' || asked.get('transport') !== 'websocket' || asked.has('sid')) return false;
    this.#io.engine.handleUpgrade(request as never, socket, head);
    return true;
  }

  stop(): void {
    this.#io.disconnectSockets(true);
    this.#io.engine.close();
  }
}

/** Stops reading a WebSocket of socket.io for a time, on either end. */
export function holdBack(transport: unknown, ms: number): void {
  const { socket, ws = socket } = (transport ?? {}) as { socket?: Pausable; ws?: Pausable };
  if (ws === undefined || ws.isPaused) return;
  ws.pause();
  setTimeout(() => ws.resume(), ms).unref();
}

interface Pausable {
  readonly isPaused: boolean;
  pause(): void;
  resume(): void;
}

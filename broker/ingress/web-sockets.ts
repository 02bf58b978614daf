import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import type { Beating, Heartbeat } from './limits/heartbeat.ts';

/** The ping of engine.io, which a client answers with a pong of engine.io. */
const PING = '2';
/** A client that does not answer a close frame is cut off after this time. */
const CLOSE_MS = 2000;
/** Parts in which one message may come, and chunks of the transport that may hold it. */
const MAX_FRAGMENTS = 1024;
const LEAST_CHUNK = 512;

/** The receiver of all messages of one WebSocket. */
export interface WebSocketUser {
  message(data: Buffer, isBinary: boolean): void;
  /** A ping or pong of WebSocket itself. */
  control(): void;
}

/** A WebSocket whose messages go to its user first, who passes on to engine.io what that is to see. */
export class UsedWebSocket extends WebSocket implements Beating {
  user: WebSocketUser | undefined;
  /** Any byte is a sign of life: a pong may be stuck behind a large message. */
  heardAt = performance.now();
  /** Bytes of one message, at most. */
  maxMessage = 0;

  /** Asks its client for signs of life from now on, until it is closed. */
  beat(heartbeat: Heartbeat): void {
    this.once('close', heartbeat.add(this));
  }

  ask(): void {
    this.send(PING);
  }

  silent(): void {
    this.terminate();
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const { user } = this;
    if (user !== undefined) {
      if (event === 'message') {
        user.message(args[0] as Buffer, args[1] as boolean);
        return true;
      }
      if (event === 'ping' || event === 'pong') {
        user.control();
        return true;
      }
    }
    return super.emit(event, ...args);
  }

  /** To engine.io. */
  pass(data: Buffer): void {
    super.emit('message', data, false);
  }
}

/**
 * For the `wsEngine` option of engine.io, with the bounds that `ws` has and engine.io does not set.
 * @param userOf for the WebSocket of a TLS connection; it is asked before the first message
 */
export function webSocketServer(
  maxPayload: number,
  userOf: (connection: Duplex, webSocket: UsedWebSocket) => WebSocketUser,
): typeof WebSocketServer {
  const bounds = {
    maxPayload,
    maxFragments: MAX_FRAGMENTS,
    maxBufferedChunks: MAX_FRAGMENTS + Math.ceil(maxPayload / LEAST_CHUNK),
    closeTimeout: CLOSE_MS,
    // A ping for each six bytes would be a pong each.
    autoPong: false,
    WebSocket: UsedWebSocket,
  };
  const Bounded = class extends WebSocketServer<typeof UsedWebSocket> {
    constructor(options: object) {
      super({ ...options, ...bounds });
    }

    override handleUpgrade(
      request: IncomingMessage,
      connection: Duplex,
      head: Buffer,
      done: (webSocket: UsedWebSocket, request: IncomingMessage) => void,
    ): void {
      super.handleUpgrade(request, connection, head, (webSocket) => {
        webSocket.maxMessage = maxPayload;
        webSocket.user = userOf(connection, webSocket);
        done(webSocket, request);
      });
    }
  };
  return Bounded as unknown as typeof WebSocketServer;
}

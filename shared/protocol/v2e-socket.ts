/** Settings that all sockets of V2E share, on both ends. */
import type { Agent } from 'node:https';
import { V2E_FEATURES, V2E_VERSIONS } from './greeting.ts';
import { v2eParser } from './v2e-parser.ts';
import { V2eWebSocket } from './v2e-transport.ts';

export const V2E_PATH = '/v2e';

/** How often a broker says that it is there, in milliseconds. */
export const V2E_PING_MS = 2000;

/** For both ends: one WebSocket, and one WebSocket message for each message of V2E. */
export const V2E_TRANSPORT = { path: V2E_PATH, transports: ['websocket'] as ['websocket'], parser: v2eParser };

/** For a client that connects when it is told to. @param agent carries the client's certificate */
export function v2eClientOptions(agent: Agent) {
  return {
    ...V2E_TRANSPORT,
    transports: [V2eWebSocket],
    // The types know agents of browsers' kind only; engine.io-client hands this one to `ws`.
    agent: agent as unknown as string,
    perMessageDeflate: false as unknown as { threshold: number },
    auth: { versions: [...V2E_VERSIONS], features: [...V2E_FEATURES] },
    forceNew: true,
    autoConnect: false,
  };
}

/** What an event of V2E carries. @throws Error when it is not binary */
export function bytesOf(payload: unknown): Uint8Array {
  if (payload instanceof Uint8Array) return payload;
  throw new Error('it is not binary');
}

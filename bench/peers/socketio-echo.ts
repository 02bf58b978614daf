import { Agent } from 'node:https';
import { fileURLToPath } from 'node:url';
import { io, type Socket } from 'socket.io-client';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { v2eParser } from '../../shared/protocol/v2e-parser.ts';
import { Daemon } from './daemon.ts';

const server = fileURLToPath(new URL('./socketio-echo-server.ts', import.meta.url));

/** The bare socket.io echo, over the same TLS and with the same transport settings as V2E. */
export class SocketIoEcho {
  readonly #daemon: Daemon;
  readonly #socket: Socket;
  readonly #agent: Agent;

  private constructor(daemon: Daemon, socket: Socket, agent: Agent) {
    this.#daemon = daemon;
    this.#socket = socket;
    this.#agent = agent;
  }

  /** `parser`: socket.io's own, which is what anybody gets, or the one that V2E uses. */
  static async start(
    identities: { vehicle: string; broker: string },
    brokerId: string,
    parser: 'common' | 'v2e',
  ): Promise<SocketIoEcho> {
    const daemon = new Daemon([server, identities.broker, parser]);
    const port = Number(await daemon.nextLine());
    const identity = await loadIdentity(identities.vehicle, 'vehicle');
    const agent = new Agent({ ...identity.clientOptions(brokerId), maxCachedSessions: 0 });
    const socket = io(`https://127.0.0.1:${port}`, {
      path: '/v2e',
      transports: ['websocket'],
      ...(parser === 'v2e' ? { parser: v2eParser } : {}),
      agent: agent as unknown as string,
      perMessageDeflate: false as unknown as { threshold: number },
      forceNew: true,
    });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('connect_error', reject);
    });
    return new SocketIoEcho(daemon, socket, agent);
  }

  echo(bytes: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve) => this.#socket.emit('echo', bytes, resolve));
  }

  async stop(): Promise<void> {
    this.#socket.disconnect();
    this.#agent.destroy();
    await this.#daemon.stop();
  }
}

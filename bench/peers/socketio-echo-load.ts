import { fileURLToPath } from 'node:url';
import { computedUs } from '../tenders.ts';
import { Daemon } from './daemon.ts';
import { pinned } from './pinned.ts';
import { runProgram } from './process.ts';

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const GRACE_MS = 30_000;

/** The floor of a broker: a bare socket.io echo and its clients, pinned as broker and clients are. */
export class EchoLoad {
  readonly #server: Daemon;
  readonly #port: string;
  readonly #vehicle: string;
  readonly #brokerId: string;

  private constructor(server: Daemon, port: string, vehicle: string, brokerId: string) {
    this.#server = server;
    this.#port = port;
    this.#vehicle = vehicle;
    this.#brokerId = brokerId;
  }

  static async start(identities: { vehicle: string; broker: string }, brokerId: string): Promise<EchoLoad> {
    const [program, args] = pinned(0, 0, [file('socketio-echo-server.ts'), identities.broker, 'v2e']);
    const server = new Daemon(args, program);
    return new EchoLoad(server, await server.nextLine(), identities.vehicle, brokerId);
  }

  /** @returns echoes, and microseconds of processor that the server took for all of them */
  async run(connections: number, open: number, bytes: number, ms: number) {
    const numbers = [connections, open, bytes, ms].map(String);
    const all = [file('socketio-echo-client.ts'), this.#port, this.#vehicle, this.#brokerId, ...numbers];
    const [program, args] = pinned(1, 0, all);
    const before = computedUs(this.#server.pid);
    const output = await runProgram(program, args, { timeoutMs: ms + GRACE_MS });
    const { count, perSecond } = JSON.parse(output.toString('utf8')) as { count: number; perSecond: number };
    return { count, perSecond, serverUs: computedUs(this.#server.pid) - before };
  }

  async stop(): Promise<void> {
    await this.#server.stop();
  }
}

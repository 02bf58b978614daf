import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * A relay of bytes in front of a broker that can go deaf in the middle of everything: connections stay open at both ends
 * and nothing passes, not even their ends, as when a vehicle drives into a tunnel. What connects later passes.
 */
export class Radio {
  readonly #server: Server;
  readonly #target: number;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  readonly #deaf: Socket[] = [];
  /** Told of what comes by, before it is passed on. */
  onPassing: (to: 'broker' | 'vehicle', bytes: number) => void = () => {};

  private constructor(server: Server, target: number) {
    this.#server = server;
    this.#target = target;
    server.on('connection', (near) => this.#relay(near));
  }

  /** @param target port of the broker on 127.0.0.1 */
  static async open(target: number): Promise<Radio> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Radio(server, target);
  }

  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  #relay(near: Socket): void {
    const far = connect(this.#target, '127.0.0.1');
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [far, near]] as const) {
      from.on('data', (bytes: Buffer) => {
        if (!this.#pairs.has(pair)) return;
        this.onPassing(to === far ? 'broker' : 'vehicle', bytes.length);
        to.write(bytes);
      });
      from.on('error', () => {});
      from.on('close', () => void (this.#pairs.has(pair) && to.destroy()));
    }
  }

  /** All connections there are now. */
  goDeaf(): void {
    for (const pair of this.#pairs) {
      this.#pairs.delete(pair);
      for (const socket of pair) socket.pause();
      this.#deaf.push(...pair);
    }
  }

  async close(): Promise<void> {
    for (const socket of [...this.#deaf, ...[...this.#pairs].flat()]) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

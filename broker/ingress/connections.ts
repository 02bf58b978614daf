import type { Socket } from 'node:net';

/**
 * The connections of a broker, at most so many. When there is no room, whoever has been busy with the handshake for
 * longest makes some: nobody without a certificate can keep vehicles out by connecting and saying nothing.
 */
export class Connections {
  readonly #max: number;
  /** By their other end. */
  readonly #all = new Map<string, Socket>();
  /** Those of them that have not shown a certificate yet, the oldest first. */
  readonly #strangers = new Set<string>();

  constructor(max: number) {
    this.#max = max;
  }

  /** A client has connected. It may cost an older one its place, or be turned away. */
  meet(socket: Socket): void {
    if (this.#all.size >= this.#max) {
      const [oldest] = this.#strangers;
      if (oldest === undefined) {
        socket.destroy();
        return;
      }
      this.#strangers.delete(oldest);
      this.#all.get(oldest)?.destroy();
    }
    const end = otherEnd(socket);
    this.#all.set(end, socket);
    this.#strangers.add(end);
    socket.once('close', () => {
      this.#all.delete(end);
      this.#strangers.delete(end);
    });
  }

  /** It has shown a certificate. `socket` may be the TLS socket on top of the one that was met. */
  known(socket: Socket): void {
    this.#strangers.delete(otherEnd(socket));
  }

  /** Resolves when the last connection is closed; what is left after `limitMs` is cut off. */
  async close(limitMs: number): Promise<void> {
    await this.#empty(limitMs);
    for (const socket of this.#all.values()) socket.destroy();
  }

  #empty(limitMs: number): Promise<void> {
    if (this.#all.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      for (const socket of this.#all.values()) {
        socket.once('close', () => {
          if (this.#all.size > 0) return;
          clearTimeout(timer);
          resolve();
        });
      }
    });
  }
}

/** Names a connection: no two that live have the same. */
function otherEnd({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

import type { Socket } from 'node:net';
import { TokenBucket } from './token-bucket.ts';

/** Handshakes from one address that are under way or have failed: so many at once, and so many more each second. */
const HANDSHAKES = { perSecond: 50, most: 200 };
/** Connections from one address that have not shown a certificate yet. */
const MAX_STRANGERS = 256;
/** From this number on, idle addresses are forgotten: without a stranger, and without handshakes of late. */
const MAX_ADDRESSES = 4096;
const LOOK_MS = 20;

interface Stranger {
  readonly socket: Socket;
  readonly proceed: () => void;
}

/** One address and its clients without a certificate. Behind it there may be a whole fleet. */
interface Address {
  readonly handshakes: TokenBucket;
  /** Those that have not shown a certificate yet, the oldest first. */
  readonly strangers: Set<Socket>;
  /** Those of them whose handshake is not begun. */
  readonly waiting: Stranger[];
}

/**
 * The connections of a broker, at most so many. Until it has shown a certificate, a connection counts for its address
 * only. Handshakes are the dearest thing that a stranger can ask for: between two looks of the event loop at the network
 * one is begun, by turns of addresses. When there is no room, whoever has been busy with the handshake for longest makes
 * some, from the address that has most of them: a client without a certificate cannot keep vehicles out by connecting
 * and saying nothing.
 */
export class Connections {
  readonly #max: number;
  /** By their other end. */
  readonly #all = new Map<string, Socket>();
  readonly #addresses = new Map<string, Address>();
  /** Addresses with a client that waits for its handshake, the next one first. */
  readonly #round: string[] = [];
  #immediate: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#all.size;
  }

  /** A client has connected. It may cost an older one its place, or be turned away. @param proceed begins the handshake */
  meet(socket: Socket, proceed: () => void): void {
    // It may be gone already.
    if (socket.remoteAddress === undefined) return void socket.destroy();
    const name = addressOf(socket);
    const address = this.#addressOf(name);
    if (address.strangers.size >= MAX_STRANGERS) this.#dropOldest(address);
    else if (this.#all.size >= this.#max && !this.#makeRoom()) return void socket.destroy();
    const end = otherEnd(socket);
    this.#all.set(end, socket);
    address.strangers.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#all.delete(end);
      address.strangers.delete(socket);
    });
    address.waiting.push({ socket, proceed });
    if (address.waiting.length === 1) this.#round.push(name);
    this.#immediate ??= setImmediate(this.#next);
  }

  /** It has shown a certificate, and may stay. `socket` may be the TLS socket on top of the one that was met. */
  known(socket: Socket): void {
    const met = this.#all.get(otherEnd(socket));
    if (met === undefined) return;
    const address = this.#addresses.get(addressOf(socket));
    if (address?.strangers.delete(met)) address.handshakes.giveBack();
  }

  /** Resolves when the last connection is closed; what is left after `limitMs` is cut off. */
  async close(limitMs: number): Promise<void> {
    clearImmediate(this.#immediate);
    clearTimeout(this.#timer);
    this.#round.length = 0;
    for (const { waiting } of this.#addresses.values()) for (const { socket } of waiting) socket.destroy();
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

  /** Begins one handshake. */
  readonly #next = (): void => {
    this.#immediate = undefined;
    this.#timer = undefined;
    const now = performance.now();
    let hasBegun = false;
    for (let left = this.#round.length; left > 0 && !hasBegun; left--) {
      const name = this.#round.shift()!;
      const { waiting, handshakes } = this.#addresses.get(name)!;
      while (waiting[0]?.socket.destroyed) waiting.shift();
      if (waiting.length > 0 && handshakes.take(now)) {
        hasBegun = true;
        waiting.shift()!.proceed();
      }
      if (waiting.length > 0) this.#round.push(name);
    }
    if (this.#round.length === 0) return;
    if (hasBegun) this.#immediate ??= setImmediate(this.#next);
    else this.#timer ??= setTimeout(this.#next, LOOK_MS);
  };

  #makeRoom(): boolean {
    let most: Address | undefined;
    for (const address of this.#addresses.values()) {
      if (address.strangers.size > (most?.strangers.size ?? 0)) most = address;
    }
    if (most === undefined) return false;
    this.#dropOldest(most);
    return true;
  }

  #dropOldest({ strangers }: Address): void {
    const [oldest] = strangers;
    if (oldest === undefined) return;
    strangers.delete(oldest);
    this.#all.delete(otherEnd(oldest));
    oldest.destroy();
  }

  #addressOf(name: string): Address {
    const known = this.#addresses.get(name);
    if (known !== undefined) return known;
    const now = performance.now();
    if (this.#addresses.size >= MAX_ADDRESSES) {
      for (const [other, { strangers, waiting, handshakes }] of this.#addresses) {
        if (strangers.size === 0 && waiting.length === 0 && handshakes.isFull(now)) this.#addresses.delete(other);
      }
    }
    const fresh: Address = {
      handshakes: new TokenBucket(HANDSHAKES.perSecond, HANDSHAKES.most, now),
      strangers: new Set(),
      waiting: [],
    };
    this.#addresses.set(name, fresh);
    return fresh;
  }
}

/** Names a connection: no two that live have the same. */
function otherEnd({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** Of IPv6 the first half: whoever has one address there has 2^64 of them. */
function addressOf({ remoteAddress = '' }: Socket): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(remoteAddress)?.[1];
  if (mapped !== undefined) return mapped;
  if (!remoteAddress.includes(':')) return remoteAddress;
  const [front = '', back = ''] = remoteAddress.split('%')[0]!.split('::');
  const groups = front.split(':').filter(Boolean);
  if (remoteAddress.includes('::')) {
    const rest = back.split(':').filter(Boolean);
    while (groups.length + rest.length < 8) groups.push('0');
    groups.push(...rest);
  }
  return groups.slice(0, 4).join(':');
}

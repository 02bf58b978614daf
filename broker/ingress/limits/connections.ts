import type { Socket } from 'node:net';
import { networkOf } from './network.ts';
import { TokenBucket } from './token-bucket.ts';

/** Handshakes from one address that are under way or have failed: so many at once, and so many more each second. */
const HANDSHAKES = { perSecond: 100, most: 200 };
/** Connections from one address that have not shown a certificate yet. */
const MAX_STRANGERS = 256;
/** From this number on, idle addresses are forgotten: without a stranger, and without handshakes of late. */
const MAX_ADDRESSES = 4096;
const LOOK_MS = 20;
/** A client that has connected and says nothing for so long is cut off. */
const SILENT_MS = 5000;
/** A client that waits for longer than this has most likely given up: then the newest one is served first, which is there for certain. */
const GIVES_UP_MS = 1000;
/** A client that comes again and again although it has all the connections it may have waits for so long in vain. */
const HOLD_MS = 20_000;

/** A connection without a certificate. */
interface Stranger {
  readonly socket: Socket;
  readonly proceed: () => void;
  waitsSince: number;
}

/** One address and its clients without a certificate. Behind it there may be a whole fleet. */
interface Address {
  readonly handshakes: TokenBucket;
  /** All that have not shown a certificate yet. */
  readonly strangers: Set<Socket>;
  /** Those of them that have not sent a byte, the oldest first. */
  readonly silent: Set<Socket>;
  /** Those that have, and whose handshake is not begun; the oldest first. */
  readonly waiting: Stranger[];
}

export interface ConnectionsOptions {
  /** At most so many. */
  readonly max: number;
  /** Between 0 and 1, as `Math.random`. */
  readonly random?: () => number;
}

/**
 * The connections of a broker, at most so many. Until it has shown a certificate, a connection counts for its address
 * only. Handshakes are the dearest thing that a stranger can ask for: between two looks of the event loop at the network
 * one is begun, by turns of addresses, for a client that has sent something. Too many of one address wait, and are not
 * turned away. When there is no room, it is made by those who have all the connections they may have and come again,
 * then at the address that has most strangers: by whoever has said nothing for longest, and when all have spoken by any of
 * them. So whoever floods displaces mostly his own, and nobody is displaced for certain.
 */
export class Connections {
  readonly #max: number;
  readonly #random: () => number;
  /** By their other end. */
  readonly #all = new Map<string, Socket>();
  readonly #addresses = new Map<string, Address>();
  /** Those that are not served and wait in vain, the oldest first. */
  readonly #held = new Map<Socket, NodeJS.Timeout>();
  /** Addresses with a client that waits for its handshake, the next one first. */
  readonly #round: string[] = [];
  #immediate: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closing = false;

  constructor({ max, random = Math.random }: ConnectionsOptions) {
    this.#max = max;
    this.#random = random;
  }

  get size(): number {
    return this.#all.size;
  }

  /**
   * A client has connected. It may cost another one its place, or be turned away.
   * @param socket from which nothing has been read @param proceed begins the handshake
   */
  meet(socket: Socket, proceed: () => void): void {
    // It may be gone already.
    if (socket.remoteAddress === undefined || this.#closing) return void socket.destroy();
    const name = networkOf(socket.remoteAddress);
    const address = this.#addressOf(name);
    if (address.strangers.size >= MAX_STRANGERS) this.#dropOne(address);
    else if (this.#all.size >= this.#max && !this.#makeRoom()) return void socket.destroy();
    const end = otherEnd(socket);
    this.#all.set(end, socket);
    address.strangers.add(socket);
    address.silent.add(socket);
    socket.on('error', () => {});
    const silence = setTimeout(() => socket.destroy(), SILENT_MS);
    socket.once('close', () => {
      clearTimeout(silence);
      this.#all.delete(end);
      address.strangers.delete(socket);
      address.silent.delete(socket);
    });
    // The bytes stay in the socket, from which TLS takes them.
    socket.once('readable', () => {
      clearTimeout(silence);
      if (!address.silent.delete(socket) || socket.destroyed) return;
      address.waiting.push({ socket, proceed, waitsSince: performance.now() });
      if (address.waiting.length === 1) this.#round.push(name);
      this.#immediate ??= setImmediate(this.#next);
    });
    socket.read(0);
  }

  /** It has shown a certificate, and may stay. `socket` may be the TLS socket on top of the one that was met. */
  known(socket: Socket): void {
    if (this.#recognise(socket) !== undefined) this.#addresses.get(nameOf(socket))?.handshakes.giveBack();
  }

  /**
   * It has shown a certificate that comes too often: it is left waiting, so that it does not come again at once, and is
   * the first that makes room.
   */
  hold(socket: Socket): void {
    const met = this.#recognise(socket);
    if (met === undefined) return;
    this.#held.set(
      met,
      setTimeout(() => met.destroy(), HOLD_MS),
    );
    met.once('close', () => {
      clearTimeout(this.#held.get(met));
      this.#held.delete(met);
    });
  }

  /** @param socket as `known` has it */
  isHeld(socket: Socket): boolean {
    const met = this.#all.get(otherEnd(socket));
    return met !== undefined && this.#held.has(met);
  }

  /** Resolves when the last connection is closed; what is left after `limitMs` is cut off. */
  async close(limitMs: number): Promise<void> {
    this.#closing = true;
    clearImmediate(this.#immediate);
    clearTimeout(this.#timer);
    this.#round.length = 0;
    for (const { waiting, silent } of this.#addresses.values()) {
      for (const { socket } of waiting) socket.destroy();
      for (const socket of [...silent]) socket.destroy();
    }
    for (const socket of [...this.#held.keys()]) socket.destroy();
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

  /** It counts for its address no more. @returns what was met; undefined: nothing that still counted so */
  #recognise(socket: Socket): Socket | undefined {
    const met = this.#all.get(otherEnd(socket));
    if (met === undefined) return undefined;
    return this.#addresses.get(nameOf(socket))?.strangers.delete(met) ? met : undefined;
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
      while (waiting.at(-1)?.socket.destroyed) waiting.pop();
      if (waiting.length > 0 && handshakes.take(now)) {
        hasBegun = true;
        const isLate = now - waiting[0]!.waitsSince > GIVES_UP_MS;
        (isLate ? waiting.pop() : waiting.shift())!.proceed();
      }
      if (waiting.length > 0) this.#round.push(name);
    }
    if (this.#round.length === 0) return;
    if (hasBegun) this.#immediate ??= setImmediate(this.#next);
    else this.#timer ??= setTimeout(this.#next, LOOK_MS);
  };

  #makeRoom(): boolean {
    const [held] = this.#held.keys();
    if (held !== undefined) {
      this.#drop(held);
      return true;
    }
    let most: Address | undefined;
    for (const address of this.#addresses.values()) {
      if (address.strangers.size > (most?.strangers.size ?? 0)) most = address;
    }
    if (most === undefined) return false;
    this.#dropOne(most);
    return true;
  }

  #dropOne(address: Address): void {
    const [silent] = address.silent;
    const one = silent ?? [...address.strangers][Math.floor(this.#random() * address.strangers.size)];
    if (one === undefined) return;
    address.strangers.delete(one);
    address.silent.delete(one);
    const place = address.waiting.findIndex(({ socket }) => socket === one);
    // The first one stays in the row, which is as long as the address has its turn.
    if (place > 0) address.waiting.splice(place, 1);
    this.#drop(one);
  }

  #drop(socket: Socket): void {
    this.#all.delete(otherEnd(socket));
    clearTimeout(this.#held.get(socket));
    this.#held.delete(socket);
    socket.destroy();
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
      silent: new Set(),
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

function nameOf({ remoteAddress = '' }: Socket): string {
  return networkOf(remoteAddress);
}

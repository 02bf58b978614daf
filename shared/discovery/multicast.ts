import { createSocket, type Socket } from 'node:dgram';
import { isIPv4, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { messageOf } from '../base/errors.ts';
import { MAX_ANNOUNCEMENT } from './announcement.ts';

export interface MulticastAddress {
  /** IPv4 or IPv6. */
  readonly group: string;
  readonly port: number;
}

export interface MulticastOptions extends MulticastAddress {
  /** Names of network interfaces; empty: all that are up, but for the loopback. */
  readonly interfaces: readonly string[];
  /** Routers that pass it on, plus one. */
  readonly ttl: number;
}

/** Neither leaves the link: the first by its TTL (RFC 2365 for the range), the second by its scope (RFC 4291). */
export const DEFAULT_GROUPS = ['239.255.75.66', 'ff02::4b42'] as const;
export const DEFAULT_PORT = 7443;
export const DEFAULT_TTL = 1;

/** How often it is looked which interfaces there are, in milliseconds. */
const LOOK_MS = 500;
const RECEIVE_BUFFER = 256 * 1024;

export interface MulticastEvents {
  /** @param from address that it came from */
  readonly onDatagram?: (datagram: Buffer, from: string) => void;
  /** `reason` keeps it from an interface; empty: nothing does any more. Called once each. */
  readonly onTrouble: (name: string, reason: string) => void;
}

interface Port {
  readonly listener: Socket | undefined;
  readonly sender: Socket;
  /** Of the interface, to find out that it has another one. */
  readonly address: string;
}

export function isGroup(text: string): boolean {
  if (isIPv4(text)) return /^(22[4-9]|23\d)\./.test(text);
  return isIPv6(text) && /^ff/i.test(text);
}

/**
 * Sends to a multicast group and listens there, on each of its interfaces. One that is not there yet, or goes away, is used
 * when it is there again.
 */
export class Multicast {
  readonly #options: MulticastOptions;
  readonly #events: MulticastEvents;
  readonly #listOf: typeof networkInterfaces;
  /** By the name of the interface. */
  readonly #ports = new Map<string, Port>();
  readonly #troubles = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  /** @param listOf reads the interfaces of this machine; another one stands in for interfaces that come and go */
  constructor(
    options: MulticastOptions,
    events: MulticastEvents,
    listOf: typeof networkInterfaces = networkInterfaces,
  ) {
    this.#listOf = listOf;
    this.#options = options;
    this.#events = events;
  }

  /** Never fails: what keeps it from an interface is told, and tried again. */
  start(): void {
    this.#look();
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#timer.unref();
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
    for (const name of [...this.#ports.keys()]) this.#close(name);
  }

  /** The interfaces that it is on now. */
  get interfaces(): readonly string[] {
    return [...this.#ports.keys()];
  }

  send(datagram: Buffer): void {
    const { group, port } = this.#options;
    for (const [name, { sender }] of this.#ports) {
      sender.send(datagram, port, group, (error) => {
        if (error !== null) this.#failed(name, sender, error);
      });
    }
  }

  #look(): void {
    const found = addressesOf(this.#options, this.#listOf());
    for (const [name, { address }] of [...this.#ports]) {
      if (found.get(name) !== address) this.#close(name);
    }
    for (const name of this.#options.interfaces) {
      if (!found.has(name)) this.#say(name, `interface ${name} is not there, or has no address of the group's kind`);
    }
    if (found.size === 0 && this.#options.interfaces.length === 0) {
      this.#say('', `no interface with an address like ${this.#options.group} is up, but for the loopback`);
    } else this.#say('', '');
    for (const [name, address] of found) if (!this.#ports.has(name)) this.#open(name, address);
  }

  #open(name: string, address: string): void {
    const { group, port, ttl } = this.#options;
    const { onDatagram } = this.#events;
    const is6 = isIPv6(group);
    const type = is6 ? 'udp6' : 'udp4';
    const sender = createSocket({ type });
    const listener = onDatagram && createSocket({ type, reuseAddr: true, recvBufferSize: RECEIVE_BUFFER });
    this.#ports.set(name, { listener, sender, address });
    const fail = (error: Error) => this.#failed(name, sender, error);
    sender.on('error', fail);
    sender.bind(0, () =>
      this.#try(fail, () => {
        sender.setMulticastInterface(is6 ? `::%${name}` : address);
        sender.setMulticastTTL(ttl);
        sender.setMulticastLoopback(true);
        if (listener === undefined) this.#say(name, '');
      }),
    );
    if (listener === undefined) return;
    listener.on('error', fail);
    listener.on('message', (datagram, { address: from }) => {
      // One more byte than an announcement may have is as good as all of them.
      if (!this.#isStopped) onDatagram!(datagram.subarray(0, MAX_ANNOUNCEMENT + 1), from);
    });
    // Bound to the group, it gets nothing that was sent to the port alone.
    listener.bind({ port, address: is6 ? `${group}%${name}` : group, exclusive: true }, () =>
      this.#try(fail, () => {
        listener.addMembership(group, is6 ? `::%${name}` : address);
        this.#say(name, '');
      }),
    );
  }

  #try(fail: (error: Error) => void, action: () => void): void {
    try {
      action();
    } catch (error) {
      fail(error as Error);
    }
  }

  #failed(name: string, sender: Socket, error: Error): void {
    if (this.#isStopped || this.#ports.get(name)?.sender !== sender) return;
    this.#close(name);
    this.#say(name, `interface ${name} cannot be used: ${messageOf(error)}`);
  }

  #close(name: string): void {
    const port = this.#ports.get(name);
    this.#ports.delete(name);
    for (const socket of [port?.listener, port?.sender]) {
      if (socket === undefined) continue;
      socket.removeAllListeners();
      socket.on('error', () => {});
      try {
        socket.close();
      } catch {
        // It is closed already.
      }
    }
  }

  #say(name: string, reason: string): void {
    if ((this.#troubles.get(name) ?? '') === reason) return;
    if (reason === '') this.#troubles.delete(name);
    else this.#troubles.set(name, reason);
    this.#events.onTrouble(name, reason);
  }
}

/** An address of each interface that is meant, by its name. */
function addressesOf(
  { group, interfaces }: MulticastOptions,
  all: ReturnType<typeof networkInterfaces>,
): Map<string, string> {
  const family = isIPv6(group) ? 'IPv6' : 'IPv4';
  const found = new Map<string, string>();
  for (const [name, addresses] of Object.entries(all)) {
    const address = addresses?.find((one) => one.family === family);
    if (address === undefined) continue;
    if (interfaces.length > 0 ? interfaces.includes(name) : !address.internal) found.set(name, address.address);
  }
  return found;
}

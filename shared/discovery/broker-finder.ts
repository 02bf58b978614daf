import { connect } from 'node:tls';
import { messageOf } from '../base/errors.ts';
import type { Identity } from '../identity/identity.ts';
import { BrokerTable } from './broker-table.ts';
import type { FoundBroker } from './found-broker.ts';
import { Multicast, type MulticastOptions } from './multicast.ts';

export interface BrokerFinderOptions {
  /** Groups that are listened to; empty: only what is told with `hear`. */
  readonly groups: readonly MulticastOptions[];
  /** Whose authorities are believed; asked each time. Undefined: nothing is verified. */
  readonly identity: () => Identity | undefined;
  /**
   * True: brokers that are not verified are connected to for their certificates. Without it, certificates come from whoever
   * connects to brokers anyway: `show`.
   */
  readonly asks: boolean;
  /** `reason` keeps it from an interface; empty: nothing does any more. */
  readonly onTrouble?: (name: string, reason: string) => void;
}

/** How often it is looked whom to ask, how many are asked at once, and how long for, in milliseconds. */
const LOOK_MS = 100;
const MAX_ASKED = 4;
const ASK_MS = 3000;
/** Whoever could not be verified is asked again after this time, twice as long each time. */
const AGAIN_MS = { first: 2000, most: 60_000 };
const MAX_REMEMBERED = 1024;

interface Asked {
  /** Of `performance.now()`. */
  nextAt: number;
  waitMs: number;
}

/**
 * Finds brokers: by what they announce to multicast groups, and by what others have heard. What it has not verified is a
 * hint whom to connect to and nothing else; TLS decides who that is.
 */
export class BrokerFinder {
  readonly table: BrokerTable;
  readonly #options: BrokerFinderOptions;
  readonly #sockets: readonly Multicast[];
  readonly #asked = new Map<string, Asked>();
  readonly #stop = new AbortController();
  #asking = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: BrokerFinderOptions) {
    this.#options = options;
    this.table = new BrokerTable(options.identity);
    const onTrouble = options.onTrouble ?? (() => {});
    const onDatagram = (datagram: Buffer, from: string) => this.table.hear(datagram, from, performance.now());
    this.#sockets = options.groups.map((group) => new Multicast(group, { onDatagram, onTrouble }));
  }

  start(): void {
    for (const socket of this.#sockets) socket.start();
    if (!this.#options.asks) return;
    this.#timer = setInterval(() => this.#askNext(), LOOK_MS);
    this.#timer.unref();
  }

  stop(): void {
    for (const socket of this.#sockets) socket.stop();
    clearInterval(this.#timer);
    this.#stop.abort();
  }

  /** The brokers that are there now, by id. */
  list(): FoundBroker[] {
    return this.table.list(performance.now());
  }

  /** Takes a datagram that another one has heard. @param ageMs since then */
  hear(datagram: Uint8Array, from: string, ageMs: number): void {
    this.table.hear(datagram, from, performance.now() - Math.max(0, ageMs));
  }

  get isStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  #askNext(): void {
    const identity = this.#options.identity();
    if (identity === undefined) return;
    const now = performance.now();
    for (const found of this.list()) {
      if (this.#asking >= MAX_ASKED) return;
      if (found.state !== 'unverified' || found.url === '') continue;
      const key = `${found.url} ${found.broker}`;
      const before = this.#asked.get(key);
      if (before !== undefined && now < before.nextAt) continue;
      const waitMs = before === undefined ? AGAIN_MS.first : Math.min(AGAIN_MS.most, before.waitMs * 2);
      while (this.#asked.size >= MAX_REMEMBERED) this.#asked.delete(this.#asked.keys().next().value!);
      this.#asked.set(key, { nextAt: now + waitMs, waitMs });
      this.#asking++;
      void this.#ask(found, identity).finally(() => this.#asking--);
    }
  }

  async #ask(found: FoundBroker, identity: Identity): Promise<void> {
    try {
      const { hostname, port } = new URL(found.url);
      const host = hostname.replace(/^\[|\]$/g, '');
      const certificate = await certificateOf(host, Number(port), found.broker, identity, this.#stop.signal);
      const fault = this.table.show(certificate);
      if (fault !== '') this.table.fail(found, fault);
    } catch (error) {
      this.table.fail(found, `it could not be asked for its certificate: ${messageOf(error)}`);
    }
  }
}

/**
 * The certificate (DER) of the broker at this address, from a handshake in which it has shown to have the key.
 * @throws Error when it is another one, is not believed, or does not answer in time
 */
export async function certificateOf(
  host: string,
  port: number,
  broker: string,
  identity: Identity,
  signal: AbortSignal,
): Promise<Buffer> {
  const socket = connect({ ...identity.clientOptions(broker), host, port });
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const end = () => reject(new Error('stopped'));
      signal.addEventListener('abort', end, { once: true });
      socket.setTimeout(ASK_MS, () => reject(new Error('it does not answer')));
      setTimeout(() => reject(new Error('it does not answer')), ASK_MS).unref();
      socket.once('error', reject);
      socket.once('close', () => {
        signal.removeEventListener('abort', end);
        reject(new Error('it closed the connection'));
      });
      socket.once('secureConnect', () => {
        const certificate = socket.getPeerX509Certificate();
        if (certificate === undefined) reject(new Error('it shows no certificate'));
        else resolve(Buffer.from(certificate.raw));
      });
    });
  } finally {
    socket.on('error', () => {});
    socket.destroy();
  }
}

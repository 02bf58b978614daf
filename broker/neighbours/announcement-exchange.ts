import type { BrokerFinder } from '../../shared/discovery/broker-finder.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import type { Neighbours } from './neighbours.ts';

const { AnnounceReply, AnnounceRequest } = kerbside.v2e;

export interface AnnouncementExchangeOptions {
  readonly neighbours: () => Neighbours;
  readonly finder: () => BrokerFinder | undefined;
  readonly urlOf: (neighbour: string) => string | undefined;
}

const EVERY_MS = 1000;
const ANSWER_MS = 2000;
/** Of one answer. */
const MAX_HEARD = 64;

/** Learns from neighbours which brokers there are. What they have heard is verified as if it had been heard here. */
export class AnnouncementExchange {
  readonly #options: AnnouncementExchangeOptions;
  readonly #asking = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AnnouncementExchangeOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => {
      for (const neighbour of this.#options.neighbours().ids) void this.#ask(neighbour);
    }, EVERY_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #ask(neighbour: string): Promise<void> {
    const { neighbours, finder, urlOf } = this.#options;
    const link = neighbours().link(neighbour);
    if (link === undefined || this.#asking.has(neighbour)) return;
    this.#asking.add(neighbour);
    try {
      const { data } = await link.ask('announce', AnnounceRequest.encode({}).finish(), ANSWER_MS);
      const { announcements } = AnnounceReply.decode(data ?? new Uint8Array(0));
      const url = urlOf(neighbour);
      const own = url === undefined ? '' : new URL(url).hostname.replace(/^\[|\]$/g, '');
      for (const { datagram, certificate, host, ageMs } of (announcements?.heard ?? []).slice(0, MAX_HEARD)) {
        finder()?.table.show(certificate ?? new Uint8Array(0));
        finder()?.hear(datagram ?? new Uint8Array(0), host || own, ageMs ?? 0);
      }
    } catch {
      // It is asked again in a second; what it had heard is forgotten by itself.
    } finally {
      this.#asking.delete(neighbour);
    }
  }
}

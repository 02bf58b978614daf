import { ErrorCode, KerbError } from '../../shared/errors.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import type { Logger } from '../../shared/log.ts';
import { BrokerLink, type BrokerTarget, type TaskOffer } from './broker-link.ts';
import type { Offloader, OffloadRequest, OffloadResult, PlaceStatus } from './offloader.ts';

export interface BrokerOffloaderOptions {
  /** In the order of preference. */
  readonly brokers: readonly BrokerTarget[];
  /** Of this vehicle. */
  readonly identity: Identity;
  readonly log: Logger;
}

/**
 * Sends each offload to the first connected broker that offers its task. Nothing waits for a connection: a workload that
 * is told at once that there is no broker can still use its budget for something else.
 *
 * Besides what `Offloader.offload` names, fails with InputTooLarge (more than the broker announced to take),
 * BadProtocolMessage (the broker's answer cannot be read) and Cancelled (the OBU stops).
 */
export class BrokerOffloader implements Offloader {
  readonly #options: BrokerOffloaderOptions;
  readonly #links: BrokerLink[] = [];

  constructor(options: BrokerOffloaderOptions) {
    this.#options = options;
  }

  /** Begins to connect and does not wait for it. @throws KerbError BadConfig for a URL that is none */
  async start(): Promise<void> {
    const { brokers, identity, log } = this.#options;
    for (const target of brokers) checkUrl(target);
    for (const target of brokers) {
      const link = new BrokerLink({ target, identity, log });
      this.#links.push(link);
      link.start();
    }
  }

  async stop(): Promise<void> {
    for (const link of this.#links.splice(0)) link.stop();
  }

  offload(request: OffloadRequest): Promise<OffloadResult> {
    const startedAt = performance.now();
    const link = this.#choose(request.taskDigest);
    return link === undefined ? Promise.reject(this.#noBroker()) : link.send(request, startedAt);
  }

  places(): readonly PlaceStatus[] {
    return this.#links.map((link) => link.status());
  }

  /** What the connected brokers offer; a task that several offer is listed once. */
  offers(): readonly TaskOffer[] {
    const byDigest = new Map<string, TaskOffer>();
    for (const link of this.#links) for (const offer of link.offers) byDigest.set(offer.digest, offer);
    return [...byDigest.values()];
  }

  #choose(taskDigest: string): BrokerLink | undefined {
    let connected: BrokerLink | undefined;
    for (const link of this.#links) {
      if (!link.connected) continue;
      for (const offer of link.offers) if (offer.digest === taskDigest) return link;
      connected ??= link;
    }
    // Nobody offers it: the refusal of a broker says so best.
    return connected;
  }

  #noBroker(): KerbError {
    const why = this.places().map(({ place, url, reason }) => `${place} at ${url}: ${reason}`);
    const message = why.length === 0 ? 'no broker is configured' : `no broker is connected (${why.join('; ')})`;
    return new KerbError(ErrorCode.NoBroker, message, { places: why });
  }
}

function checkUrl({ id, url }: BrokerTarget): void {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === 'https:' && parsed.pathname === '/' && parsed.search === '' && parsed.username === '')
    return;
  throw new KerbError(
    ErrorCode.BadConfig,
    `the URL of broker ${id} is ${JSON.stringify(url)}; write it like https://host:7443`,
    {
      id,
      url,
    },
  );
}

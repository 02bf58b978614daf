import type { OffloadDecision } from '../../shared/api/offload-decision.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { quoted } from '../../shared/base/quoted.ts';
import type { IdentitySource } from '../../shared/identity/identity-watch.ts';
import type { RoutedOffload } from '../../shared/protocol/offload-request.ts';
import type { PlaceKind } from '../../shared/protocol/place-kind.ts';
import { classOfPriority } from '../../shared/protocol/service-class.ts';
import type { TaskOffer } from '../../shared/v2e-client/announcement.ts';
import { BrokerLink, type BrokerTarget } from '../../shared/v2e-client/broker-link.ts';
import type { CallerTerms, OffloadResult, PlaceStatus } from '../../shared/v2e-client/offload-result.ts';
import { askState, type StateEntry } from '../../shared/v2e-client/state-requests.ts';
import { BrokerPlace } from './broker-place.ts';
import { DEFAULT_COST } from './choose/place.ts';
import { FollowedOffloads } from './followed-offloads.ts';
import type { Offloader, RoutedStateCall } from './offloader.ts';

/** A broker as the configuration of the OBU has it. */
export interface NamedBroker extends BrokerTarget {
  readonly id: string;
  /** Default: roadside. */
  readonly kind?: PlaceKind;
  /** Default: as its kind. */
  readonly cost?: number;
}

export interface BrokerOffloaderOptions {
  readonly brokers: readonly NamedBroker[];
  /** Of this vehicle. Until there is one, nobody is connected to, and everybody is told why. */
  readonly identity: IdentitySource;
  /** Id of the broker that keeps the state of sessions; undefined: the first of `brokers`. */
  readonly stateHome?: string | undefined;
  /** Id of the vehicle: among equal places, vehicles differ by it. */
  readonly vehicle?: string;
  readonly log: Logger;
}

/**
 * Sends each offload to the broker where it is expected to end in time at the least cost, and after a refusal to the next.
 * Nothing waits for a connection: a workload that
 * is told at once that there is no broker can still use its budget for something else.
 *
 * Besides what `Offloader.offload` names, fails with InputTooLarge (more than the broker announced to take),
 * BadProtocolMessage (the broker's answer cannot be read) and Cancelled (the OBU stops).
 */
export class BrokerOffloader implements Offloader {
  readonly #options: BrokerOffloaderOptions;
  readonly #links: BrokerLink[] = [];
  readonly #followed: FollowedOffloads;
  #unfollow: (() => void) | undefined;

  constructor(options: BrokerOffloaderOptions) {
    this.#options = options;
    this.#followed = new FollowedOffloads(options.vehicle ?? '', () => this.#noBroker());
  }

  /** Begins to connect and does not wait for it. @throws KerbError BadConfig for a URL that is none */
  async start(): Promise<void> {
    const { brokers, identity, log } = this.#options;
    for (const target of brokers) checkUrl(target);
    const identityTrouble = () => identity.trouble;
    for (const target of brokers) {
      const link = new BrokerLink({ target, identityTrouble, log });
      const { kind = 'roadside' } = target;
      this.#links.push(link);
      this.#followed.add(new BrokerPlace(link, kind, target.cost ?? DEFAULT_COST[kind]));
    }
    let isFirst = true;
    this.#unfollow = identity.follow((one) => {
      for (const link of this.#links) {
        if (isFirst) link.start(one);
        else link.renew(one);
      }
      isFirst = false;
    });
  }

  async stop(): Promise<void> {
    this.#unfollow?.();
    for (const link of this.#links.splice(0)) link.stop('the OBU is stopping');
  }

  offload(request: RoutedOffload): Promise<OffloadResult> {
    if (request.stateKey !== undefined) return this.#atHome(request, request.stateKey);
    return this.#followed.offload(request, termsOf(request));
  }

  /** How the place of one of the newest offloads was chosen. */
  decision(id: string): OffloadDecision | undefined {
    return this.#followed.decisions.find(id);
  }

  async useState({ taskDigest, key, ...call }: RoutedStateCall): Promise<StateEntry> {
    const found = this.#home();
    if (!found?.link.connected) throw this.#noBroker();
    const { link, home } = found;
    // A key belongs to the name that the package has, whatever the grant calls it.
    const task = link.offers.find(({ digest }) => digest === taskDigest)?.name;
    if (task !== undefined) return await askState(link, { home, key }, task, call);
    const message = `broker ${home}, which keeps the state, does not offer the task ${taskDigest}`;
    throw new KerbError(ErrorCode.UnknownTask, message, { broker: home });
  }

  cancel(id: string): void {
    for (const link of this.#links) link.cancel(id);
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

  /** The state of a session is kept at one place, and no other can run what goes with it. */
  #atHome(request: RoutedOffload, key: string): Promise<OffloadResult> {
    const found = this.#home();
    if (found === undefined) return Promise.reject(this.#noBroker());
    const { link, home } = found;
    return this.#followed.offloadAt(link.place, request, { ...termsOf(request), state: { home, key } });
  }

  #home(): { readonly link: BrokerLink; readonly home: string } | undefined {
    const { brokers, stateHome: home = brokers[0]?.id } = this.#options;
    const link = this.#links[brokers.findIndex(({ id }) => id === home)];
    return home === undefined || link === undefined ? undefined : { link, home };
  }

  #noBroker(): KerbError {
    const why = this.#links.map((link) => `${link.place} at ${link.url}: ${link.trouble}`);
    const message = why.length === 0 ? 'no broker is configured' : `no broker is connected (${why.join('; ')})`;
    return new KerbError(ErrorCode.NoBroker, message, { places: why });
  }
}

/**
 * A workload may ask again after a lost connection for as long as its budget lasts, and no longer; after the death of the
 * broker it is run again sooner than it would be read from a disk.
 */
function termsOf({ priority, deadline }: RoutedOffload): CallerTerms {
  return { serviceClass: classOfPriority(priority), keepMs: Math.max(0, deadline.leftMs()), durable: false };
}

function checkUrl({ id, url }: NamedBroker): void {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === 'https:' && parsed.pathname === '/' && parsed.search === '' && parsed.username === '')
    return;
  throw new KerbError(
    ErrorCode.BadConfig,
    `the URL of broker ${id} is ${quoted(url)}; write it like https://host:7443`,
    {
      id,
      url,
    },
  );
}

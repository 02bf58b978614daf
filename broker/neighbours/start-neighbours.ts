import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import type { NeighbourStatus } from '../../shared/api/broker.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { RunningParts } from '../../shared/base/running-parts.ts';
import type { Identity, Principal } from '../../shared/identity/identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import type { BrokerConfig } from '../config.ts';
import type { Discovery } from '../discovery/start-discovery.ts';
import type { Offloads } from '../offloads/offloads.ts';
import type { PackageStore } from '../packages/package-store.ts';
import type { PackageUploads } from '../packages/package-uploads.ts';
import type { PushedPackages } from '../packages/pushed-packages.ts';
import type { Results } from '../results/results.ts';
import type { KeyRequests } from '../state/key-requests.ts';
import type { BrokerTelemetry } from '../telemetry/telemetry.ts';
import type { RunningPolicy } from '../tenants/start-policy.ts';
import { AnnouncementExchange } from './announcement-exchange.ts';
import { ClaimFile } from './claim-file.ts';
import type { NeighbourHandlers } from './neighbour-link.ts';
import { NeighbourServer } from './neighbour-server.ts';
import { Neighbours } from './neighbours.ts';
import { PackageFetch } from './package-fetch.ts';
import { PackageForwarding } from './package-forwarding.ts';
import { forbidden } from './pieces.ts';
import { ResultClaims } from './result-claims.ts';
import { ResultForwarding } from './result-forwarding.ts';
import { StateForwarding } from './state-forwarding.ts';

const { NeighbourReply, PieceQuery } = kerbside.v2e;

export interface NeighbourParts {
  readonly config: BrokerConfig;
  readonly identity: Identity;
  readonly policy: RunningPolicy;
  readonly discovery: () => Discovery | undefined;
  readonly store: PackageStore;
  readonly pushed: PushedPackages;
  readonly uploads: () => PackageUploads;
  readonly offloads: Offloads;
  readonly results: Results;
  readonly keys: () => KeyRequests;
  readonly telemetry: BrokerTelemetry;
  readonly log: Logger;
}

/** The parts that answer neighbours. */
interface Answering {
  readonly discovery: () => Discovery | undefined;
  readonly fetch: PackageFetch;
  readonly forwarding: PackageForwarding;
  readonly results: ResultForwarding;
  readonly claims: ResultClaims;
  readonly state: StateForwarding;
}

/** The neighbours, as the rest of a broker has them. */
export interface RunningNeighbours {
  readonly links: Neighbours;
  readonly forwarding: PackageForwarding;
  admits(principal: Principal, socket: TLSSocket): boolean;
  /** False: it is not one that was admitted. */
  upgrade(request: IncomingMessage, socket: TLSSocket, head: Buffer): boolean;
  /** Connects, and lets connections in. */
  begin(): Promise<void>;
  renew(identity: Identity): void;
  /** A vehicle wants the result of an offload that a neighbour has. */
  claim: ResultClaims['ask'];
  readonly state: StateForwarding;
  status(): NeighbourStatus[];
}

/** Connects a broker with the neighbours of its policy, and forwards what they may have. */
export async function startNeighbours(running: RunningParts, parts: NeighbourParts): Promise<RunningNeighbours> {
  const { config, identity, policy, discovery, store, pushed, offloads, telemetry } = parts;
  const log = parts.log.child({ part: 'neighbours' });
  const metrics = telemetry.neighbours;
  const events = {
    forwarded: metrics.forwarded,
    fetched: metrics.fetched,
    audit: (action: Parameters<BrokerTelemetry['audit']>[0]) => telemetry.audit(action),
  };
  const neighbours = () => links;
  const forwarding = new PackageForwarding({ neighbours, store, events, log });
  const fetch = new PackageFetch({
    ...{ neighbours, pushed, events, log },
    get uploads() {
      return parts.uploads();
    },
    onRefused: (task) => {
      if (store.get(task.digest) === undefined) offloads.withdraw(task);
    },
  });
  const urlOf = (id: string) => config.neighbours?.get(id) ?? foundUrl(discovery(), id);
  const exchange = new AnnouncementExchange({ neighbours, finder: () => discovery()?.finder, urlOf });
  let own = identity;
  const file = new ClaimFile(join(config.stateDir, 'claims.json'), log);
  const results = new ResultForwarding({ neighbours, identity: () => own, offloads, file, events });
  const claims = new ResultClaims({ neighbours, keep: (one) => parts.results.kept.keepForwarded(one), events });
  const rules = policy.tenants;
  const state = new StateForwarding({ neighbours, keys: parts.keys, rules, events });
  const links: Neighbours = new Neighbours({
    identity,
    rules: () => policy.tenants.policy.neighbours,
    urlOf,
    handlers: handlersOf({ discovery, fetch, forwarding, results, claims, state }),
    onCertificate: (certificate) => void discovery()?.finder.table.show(certificate),
    onConnected: (neighbour) => {
      telemetry.events.add('neighbour', neighbour, 'Connected', `broker ${neighbour}`);
      forwarding.connected(neighbour);
      results.look();
    },
    log,
  });
  const admitted = new WeakSet<TLSSocket>();
  const server = new NeighbourServer((socket, connection) => links.accept(socket, connection));
  await running.begin('neighbour server', { stop: () => server.stop() });
  policy.onChange(() => links.review());
  const status = () =>
    links.status().map((one) => ({ ...one, ...forwarding.status(one.broker), ...results.status(one.broker) }));
  metrics.watch(status);
  return {
    ...{ links, forwarding, state, status },
    begin: async () => {
      await running.begin('neighbours', links);
      await running.begin('package forwarding', forwarding);
      await running.begin('result forwarding', results);
      await running.begin('claims', claims);
      await running.begin('announcement exchange', exchange);
    },
    admits: (principal, socket) => {
      if (!links.admits(principal)) return false;
      admitted.add(socket);
      return true;
    },
    upgrade: (request, socket, head) => admitted.has(socket) && server.upgrade(request, socket, head),
    renew: (renewed) => {
      own = renewed;
      links.renew(renewed);
    },
    claim: (client, claim, answer) => claims.ask(client, claim, answer),
  };
}

function handlersOf({ discovery, fetch, forwarding, results, claims, state }: Answering): NeighbourHandlers {
  return {
    announce: () => NeighbourReply.encode({ data: discovery()?.announcements() ?? new Uint8Array(0) }).finish(),
    package: (neighbour, request) => fetch.notice(neighbour, request),
    claim: (neighbour, request) => results.claim(neighbour, request),
    result: (neighbour, request) => claims.result(neighbour, request),
    state: (neighbour, request) => state.asked(neighbour, request),
    files: (neighbour, request) => forwarding.files(neighbour, request),
    piece: (neighbour, request) => {
      const { tenant, offset, size, package: part, result } = PieceQuery.decode(request);
      if (result != null) {
        return results.piece(neighbour, tenant, result.vehicle ?? '', result.id ?? '', Number(offset), size);
      }
      if (part == null) throw forbidden('it asks for a piece of nothing');
      return forwarding.piece(neighbour, tenant, part.digest ?? '', part.path ?? '', Number(offset), size);
    },
  };
}

/** Only what one broker alone is found under: of two with one id neither is called. */
function foundUrl(discovery: Discovery | undefined, id: string): string | undefined {
  const found = discovery?.finder.list().filter(({ broker, url }) => broker === id && url !== '') ?? [];
  const verified = found.filter(({ state }) => state === 'verified');
  return (verified.length > 0 ? verified : found.filter(({ state }) => state === 'unverified'))[0]?.url;
}

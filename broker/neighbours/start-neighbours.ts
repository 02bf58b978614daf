import type { IncomingMessage } from 'node:http';
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
import type { BrokerTelemetry } from '../telemetry/telemetry.ts';
import type { RunningPolicy } from '../tenants/start-policy.ts';
import { AnnouncementExchange } from './announcement-exchange.ts';
import { NeighbourServer } from './neighbour-server.ts';
import { Neighbours } from './neighbours.ts';
import { PackageFetch } from './package-fetch.ts';
import { PackageForwarding } from './package-forwarding.ts';
import { forbidden } from './pieces.ts';

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
  readonly telemetry: BrokerTelemetry;
  readonly log: Logger;
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
  const links: Neighbours = new Neighbours({
    identity,
    rules: () => policy.tenants.policy.neighbours,
    urlOf,
    handlers: {
      announce: () => NeighbourReply.encode({ data: discovery()?.announcements() ?? new Uint8Array(0) }).finish(),
      package: (neighbour, request) => fetch.notice(neighbour, request),
      files: (neighbour, request) => forwarding.files(neighbour, request),
      piece: (neighbour, request) => {
        const query = PieceQuery.decode(request);
        const { tenant, offset, size } = query;
        const part = query.package;
        if (part == null) throw forbidden('it asks for a piece of nothing');
        return forwarding.piece(neighbour, tenant, part.digest ?? '', part.path ?? '', Number(offset), size);
      },
    },
    onCertificate: (certificate) => void discovery()?.finder.table.show(certificate),
    onConnected: (neighbour) => {
      telemetry.events.add('neighbour', neighbour, 'Connected', `broker ${neighbour}`);
      forwarding.connected(neighbour);
    },
    log,
  });
  const admitted = new WeakSet<TLSSocket>();
  const server = new NeighbourServer((socket, connection) => links.accept(socket, connection));
  await running.begin('neighbour server', { stop: () => server.stop() });
  policy.onChange(() => links.review());
  const status = () => links.status().map((one) => ({ ...one, ...forwarding.status(one.broker) }));
  metrics.watch(status);
  return {
    ...{ links, forwarding, status },
    begin: async () => {
      await running.begin('neighbours', links);
      await running.begin('package forwarding', forwarding);
      await running.begin('announcement exchange', exchange);
    },
    admits: (principal, socket) => {
      if (!links.admits(principal)) return false;
      admitted.add(socket);
      return true;
    },
    upgrade: (request, socket, head) => admitted.has(socket) && server.upgrade(request, socket, head),
    renew: (renewed) => links.renew(renewed),
  };
}

/** Only what one broker alone is found under: of two with one id neither is called. */
function foundUrl(discovery: Discovery | undefined, id: string): string | undefined {
  const found = discovery?.finder.list().filter(({ broker, url }) => broker === id && url !== '') ?? [];
  const verified = found.filter(({ state }) => state === 'verified');
  return (verified.length > 0 ? verified : found.filter(({ state }) => state === 'unverified'))[0]?.url;
}

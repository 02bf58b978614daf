import type { RunningParts } from '../shared/base/running-parts.ts';
import { type Discovery, startDiscovery } from './discovery/start-discovery.ts';
import type { Ingress } from './ingress/ingress.ts';
import { type IngressParts, startIngress } from './ingress/start-ingress.ts';
import { type RunningNeighbours, startNeighbours } from './neighbours/start-neighbours.ts';
import type { Drain } from './offloads/drain.ts';
import type { Results } from './results/results.ts';
import { KeyRequests } from './state/key-requests.ts';
import type { StateStore } from './state/state-store.ts';
import type { StateMetrics } from './telemetry/state-metrics.ts';

export interface FrontParts
  extends Omit<IngressParts, 'announcements' | 'onRenewed' | 'neighbours' | 'onPackage' | 'keys'> {
  readonly drain: Drain;
  readonly results: Results;
  readonly state: StateStore;
  readonly stateMetrics: StateMetrics;
}

/** All that others meet this broker by. */
export interface RunningFront {
  readonly ingress: Ingress;
  readonly discovery: Discovery;
  readonly neighbours: RunningNeighbours;
  /** Looks at once whether the identity is another one. */
  reloadIdentity(): Promise<void>;
  /** Holds every package against the rules at once. */
  reviewPackages(): Promise<void>;
}

/** Lets vehicles in, and tells who may listen that they can come. */
export async function startFront(running: RunningParts, parts: FrontParts): Promise<RunningFront> {
  const { config, identity, telemetry, served, offloads, drain, log } = parts;
  let discovery: Discovery | undefined;
  const neighbours = await startNeighbours(running, {
    ...parts,
    discovery: () => discovery,
    uploads: () => started.uploads,
    keys: () => keys,
  });
  const keys = keyRequestsOf(parts, neighbours);
  const started = await startIngress(running, {
    ...parts,
    announcements: () => discovery?.announcements() ?? new Uint8Array(0),
    onRenewed: (renewed) => {
      discovery?.renew(renewed);
      neighbours.renew(renewed);
    },
    ...{ neighbours, keys },
    onPackage: () => neighbours.forwarding.look(),
  });
  const { ingress, reloadIdentity, reviewPackages } = started;
  discovery = await startDiscovery(running, {
    ...{ config: config.discovery, identity, errors: telemetry.errors, log },
    port: () => ingress.port,
    served: () => served.announcement(config.id),
    neighbours: () => neighbours.links.ids,
    load: () => offloads.load(),
    isServing: () => drain.status().state === 'serving',
  });
  await neighbours.begin();
  return { ingress, discovery, neighbours, reloadIdentity, reviewPackages };
}

function keyRequestsOf(
  { config, rules, served, state, stateMetrics, telemetry }: FrontParts,
  neighbours: RunningNeighbours,
): KeyRequests {
  return new KeyRequests({
    ...{ broker: config.id, store: state, rules },
    stateOf: (tenant, task) => served.stateOf(tenant, task),
    atHome: (client, request) => neighbours.state.ask(client, request),
    onEnd: (client, request, answer) => {
      stateMetrics.requested(request.operation, answer.refusal === undefined);
      telemetry.state(client, request, answer);
    },
  });
}

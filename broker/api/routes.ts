import type {
  BrokerEventKind,
  NeighbourStatus,
  OffloadPage,
  PackageStatus,
  TenantStatus,
  VehiclePage,
} from '../../shared/api/broker.ts';
import { type ControlReply, type ControlRoutes, jsonReply } from '../../shared/api/control-routes.ts';
import { type EventLog, eventsRoute } from '../../shared/api/event-log.ts';
import { wholeNumber } from '../../shared/api/query.ts';
import type { BrokerStatus } from '../../shared/api/status.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Drain } from '../offloads/drain.ts';
import { drainRequest, nameOf } from './drain-request.ts';
import { forgetRequest, forgetTenant, statePage, type TenantData } from './forget.ts';
import { resetVersions, type VersionRules, versionRequest } from './versions.ts';

/** The values that the routes show, read from the rooms for each request. */
export interface BrokerSnapshots {
  status(): BrokerStatus;
  tenants(): readonly TenantStatus[];
  neighbours(): readonly NeighbourStatus[];
  packages(): readonly PackageStatus[];
  offloads(limit: number, only: { tenant?: string; vehicle?: string; state?: string }): OffloadPage;
  vehicles(limit: number, tenant: string | undefined): VehiclePage;
  /** Why this broker takes no offloads now; empty when it does. */
  notReady(): string;
}

export interface BrokerRouteParts {
  readonly snapshots: BrokerSnapshots;
  readonly events: EventLog<BrokerEventKind>;
  readonly drain: Drain;
  readonly data: TenantData;
  readonly versions: VersionRules;
  readonly metrics: () => Promise<{ readonly type: string; readonly body: string }>;
}

/** Entries of a page when the query does not say how many, and at most. */
const PAGE = 100;
const MAX_PAGE = 10_000;

/** All that the control API of a broker answers, on its socket and over TLS. */
export function brokerRoutes({ snapshots, events, drain, data, versions, metrics }: BrokerRouteParts): ControlRoutes {
  return {
    'GET /v1/status': () => jsonReply(snapshots.status()),
    'GET /metrics': () => metrics(),
    'GET /healthz': () => jsonReply({ ok: true }),
    'GET /readyz': () => readiness(snapshots.notReady()),
    'GET /v1/tenants': () => jsonReply(snapshots.tenants()),
    'GET /v1/neighbours': () => jsonReply(snapshots.neighbours()),
    'GET /v1/packages': () => jsonReply(snapshots.packages()),
    'GET /v1/offloads': ({ query }) => jsonReply(snapshots.offloads(pageSize(query), filterOf(query))),
    'GET /v1/vehicles': ({ query }) => jsonReply(snapshots.vehicles(pageSize(query), query.get('tenant') ?? undefined)),
    'GET /v1/state': async ({ query }) =>
      jsonReply(await statePage(data.state, pageSize(query), query.get('tenant') ?? undefined)),
    'POST /v1/forget': async ({ body, caller }) =>
      jsonReply(await forgetTenant(data, forgetRequest(body), nameOf(caller))),
    'GET /v1/versions': async () => jsonReply(await versions.floors.list()),
    'POST /v1/versions': async ({ body, caller }) =>
      jsonReply(await resetVersions(versions, versionRequest(body), nameOf(caller))),
    'GET /v1/events': eventsRoute(events),
    'GET /v1/drain': () => jsonReply(drain.status()),
    'POST /v1/drain': ({ body, caller }) => jsonReply(drain.begin({ ...drainRequest(body), by: nameOf(caller) })),
    'DELETE /v1/drain': ({ caller }) => jsonReply(drain.cancel(nameOf(caller))),
  };
}

function readiness(reason: string): ControlReply {
  return reason === '' ? jsonReply({ ready: true }) : jsonReply({ ready: false, reason }, 503);
}

/** @throws KerbError BadControlRequest */
function pageSize(query: URLSearchParams): number {
  const size = wholeNumber(query, 'limit', PAGE);
  if (size >= 1 && size <= MAX_PAGE) return size;
  throw new KerbError(ErrorCode.BadControlRequest, `limit=${size} is not a valid limit: it must be 1 to ${MAX_PAGE}`);
}

/** @throws KerbError BadControlRequest */
function filterOf(query: URLSearchParams): { tenant?: string; vehicle?: string; state?: string } {
  const state = query.get('state');
  if (state !== null && state !== 'waiting' && state !== 'running') {
    const message = `state=${state.slice(0, 50)} is not a valid state: it must be waiting or running`;
    throw new KerbError(ErrorCode.BadControlRequest, message);
  }
  const wanted = ['tenant', 'vehicle', 'state'].map((name) => [name, query.get(name)] as const);
  return Object.fromEntries(wanted.filter(([, value]) => value !== null));
}

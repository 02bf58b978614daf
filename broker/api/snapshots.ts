import type { NeighbourStatus } from '../../shared/api/broker.ts';
import type { BrokerStatus } from '../../shared/api/status.ts';
import type { Admission } from '../admission/admission.ts';
import type { BrokerConfig } from '../config.ts';
import type { Ingress } from '../ingress/ingress.ts';
import type { RunningNeighbours } from '../neighbours/start-neighbours.ts';
import type { Drain } from '../offloads/drain.ts';
import type { PendingOffload } from '../offloads/offload.ts';
import type { Offloads } from '../offloads/offloads.ts';
import type { ServedTasks } from '../offloads/served-tasks.ts';
import type { PackageStore } from '../packages/package-store.ts';
import type { KeptResults } from '../results/kept-results.ts';
import type { BrokerTelemetry } from '../telemetry/telemetry.ts';
import type { PolicyFile } from '../tenants/policy-file.ts';
import type { RunningPolicy } from '../tenants/start-policy.ts';
import type { BrokerSnapshots } from './routes.ts';
import { tenantStatus } from './tenant-status.ts';

export interface SnapshotSources {
  readonly config: BrokerConfig;
  readonly url: string;
  readonly ingress: Pick<Ingress, 'clients' | 'port'>;
  readonly admission: Pick<Admission<PendingOffload>, 'queued'>;
  readonly offloads: Pick<Offloads, 'counts'>;
  readonly results: Pick<KeptResults, 'useOf' | 'status'>;
  readonly served: Pick<ServedTasks, 'status'>;
  readonly store: Pick<PackageStore, 'rejected' | 'pushes'>;
  readonly telemetry: BrokerTelemetry;
  readonly drain: Drain;
  readonly policy: RunningPolicy;
  readonly neighbours: Pick<RunningNeighbours, 'status'>;
}

/** Reads what the API shows from the rooms of this broker, anew for each request. */
export function snapshotsOf(sources: SnapshotSources): BrokerSnapshots {
  const { config, url, ingress, admission, offloads, results, served, store, telemetry, drain, policy } = sources;
  const { tenants, file } = policy;
  const { activity, metrics, errors } = telemetry;
  const startedAt = new Date().toISOString();
  metrics.watchActivity(() => ({
    clients: ingress.clients,
    draining: drain.active,
    pending: function* () {
      for (const { asked, running } of activity.pending())
        yield { labels: metrics.labelsOf(asked.tenant, asked.task), running };
    },
  }));
  const status = (): BrokerStatus => ({
    broker: config.id,
    ...{ startedAt, url },
    clients: ingress.clients,
    queued: admission.queued,
    running: activity.counts().running,
    drain: drain.status(),
    offloads: offloads.counts(),
    packages: served.status(),
    rejected: store.rejected.map(({ path, error }) => ({ path, reason: error.message })),
    results: results.status(),
    ...(file && { policy: policyStatus(file) }),
    ...neighboursOf(sources.neighbours.status()),
    errors: errors.list(),
  });
  return {
    status,
    tenants: () =>
      tenantStatus({
        activity,
        cpuMsOf: (tenant) => metrics.cpuMsOf(tenant),
        pushed: () => store.pushes(),
        quotasOf: (tenant) => tenants.quotaUse(tenant),
        keptOf: (tenant) => results.useOf(tenant),
      }),
    neighbours: () => sources.neighbours.status(),
    packages: () => served.status(),
    offloads: (limit, only) => activity.offloads(limit, only),
    vehicles: (limit, tenant) => activity.vehicles(limit, tenant),
    notReady: () => {
      if (ingress.port === 0) return 'vehicles cannot connect: the address is not listened on';
      const { state, by } = drain.status();
      return state === 'serving' ? '' : `${state}, as ${by} asked for`;
    },
  };
}

function neighboursOf(all: readonly NeighbourStatus[]): Pick<BrokerStatus, 'neighbours'> {
  if (all.length === 0) return {};
  return { neighbours: { count: all.length, connected: all.filter(({ state }) => state === 'connected').length } };
}

function policyStatus({ file, loadedAt, fault }: PolicyFile): BrokerStatus['policy'] {
  return { file, loadedAt: new Date(loadedAt).toISOString(), reason: fault };
}

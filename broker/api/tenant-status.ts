import type { QuotaUse, TenantStatus } from '../../shared/api/broker.ts';
import type { Activity } from '../telemetry/activity.ts';
import type { TenantRecord } from '../telemetry/tenant-records.ts';

/** Sources of the status of tenants. */
export interface TenantSources {
  readonly activity: Activity;
  readonly cpuMsOf: (tenant: string) => number;
  /** The packages that tenants have pushed. */
  readonly pushed: () => Iterable<{ readonly tenant: string; readonly bytes: number }>;
  /** Undefined: results are not kept by tenant. */
  readonly keptOf?: (tenant: string) => { readonly count: number; readonly bytes: number } | undefined;
  /** Undefined: there is no policy. */
  readonly quotasOf?: (tenant: string) => readonly QuotaUse[];
}

interface Sums {
  waiting: number;
  running: number;
  bytes: number;
  packages: number;
  packageBytes: number;
}

const NO_LATENCY = { count: 0, p50: 0, p99: 0, max: 0 };

/** All tenants that are known here, by name: those that have asked for something, are connected, or have packages here. */
export function tenantStatus(sources: TenantSources): TenantStatus[] {
  const { activity, pushed } = sources;
  const sums = new Map<string, Sums>();
  const sumOf = (tenant: string): Sums => {
    const sum = sums.get(tenant) ?? { waiting: 0, running: 0, bytes: 0, packages: 0, packageBytes: 0 };
    sums.set(tenant, sum);
    return sum;
  };
  for (const { asked, running } of activity.pending()) {
    const sum = sumOf(asked.tenant);
    sum[running ? 'running' : 'waiting']++;
    sum.bytes += asked.bytes;
  }
  for (const { tenant, bytes } of pushed()) {
    const sum = sumOf(tenant);
    sum.packages++;
    sum.packageBytes += bytes;
  }
  const records = new Map(activity.tenants.list().map((one) => [one.tenant, one]));
  const names = [...new Set([...records.keys(), ...sums.keys()])].sort();
  return names.map((name) => statusOf(name, records.get(name), sumOf(name), sources));
}

function statusOf(tenant: string, record: TenantRecord | undefined, sum: Sums, sources: TenantSources): TenantStatus {
  const { waiting, running, bytes, packages, packageBytes } = sum;
  const kept = sources.keptOf?.(tenant);
  const quotas = sources.quotasOf?.(tenant);
  const { ok = 0, refused = 0, failed = 0, misses = 0, connections = 0 } = record ?? {};
  return {
    ...{ tenant, connections, vehicles: record?.vehicles.size ?? 0, waiting, running, bytes, ok, refused, failed },
    perSecond: record?.rate.perSecond() ?? 0,
    reasons: Object.fromEntries(record?.reasons ?? []),
    misses,
    latency: record?.latency?.quantiles() ?? NO_LATENCY,
    cpuMs: sources.cpuMsOf(tenant),
    packages: { count: packages, bytes: packageBytes },
    ...(kept && { kept }),
    ...(quotas && { quotas }),
  };
}

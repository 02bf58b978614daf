import type {
  NeighbourStatus,
  OffloadPage,
  PackageStatus,
  QuotaUse,
  StatePage,
  TenantStatus,
  VehiclePage,
} from '../../shared/api/broker.ts';
import type { BrokerStatus, DrainStatus } from '../../shared/api/status.ts';
import { table } from '../../shared/text/table.ts';
import { rowsOf } from '../lib/output.ts';
import { mebibytes, timeSpan } from '../lib/units.ts';

/** A status as lines for a person. */
export function brokerStatusLines(status: BrokerStatus): string[] {
  const { ok, refused, failed, perSecond } = status.offloads;
  const { rejected = [] } = status;
  return [
    `broker ${status.broker} at ${status.url}, up since ${status.startedAt}`,
    ...drainLines(status.drain),
    `vehicles connected: ${status.clients}; offloads: ${status.queued} waiting, ${status.running} running`,
    ...policyLines(status.policy),
    `offloads: ${ok} ok, ${refused} refused, ${failed} failed, ${perSecond.toFixed(1)}/s`,
    '',
    ...packageLines(status.packages),
    ...rejected.map(({ path, reason }) => `not used: ${path}: ${reason}`),
    ...(status.errors.length > 0 ? [''] : []),
    ...status.errors.slice(-5).map(({ time, source, message }) => `${time} ${source}: ${message}`),
  ];
}

function policyLines(policy: BrokerStatus['policy']): string[] {
  if (policy === undefined) return [];
  const { file, loadedAt, reason } = policy;
  return [`policy: ${file}, read ${loadedAt}${reason === '' ? '' : `; the file as it is now is not used: ${reason}`}`];
}

/** Nothing while it serves. */
export function drainLines({ state, since, by, endsInMs, tryBrokers, waiting, running }: DrainStatus): string[] {
  if (state === 'serving') return [];
  const left = state === 'drained' ? 'nothing is left' : `${waiting} waiting and ${running} running are left`;
  const ends = endsInMs > 0 ? `; announced to end in ${timeSpan(endsInMs)}` : '';
  const others = tryBrokers.length > 0 ? `; vehicles are sent to ${tryBrokers.join(', ')}` : '';
  return [`${state.toUpperCase()} since ${since} (${by}): ${left}${ends}${others}`];
}

export function packageLines(packages: readonly PackageStatus[]): string[] {
  return rowsOf(
    ['TASK', 'VERSION', 'STATE', 'TENDERS', 'MEMORY', 'ISOLATION', 'CALLS', 'CPU', 'FROM', 'DIGEST'],
    packages.map((one) => [
      ...[one.name, one.version, one.reason === '' ? one.tender : `${one.tender}: ${one.reason}`],
      ...[String(one.tenders), mebibytes(one.memory), isolationText(one), String(one.calls), seconds(one.cpuMs)],
      one.pushed?.tenant ?? '(directory)',
      one.digest.slice(0, 19),
    ]),
    'no task packages: put them into the folder of --packages, or push them with kerb task push',
  );
}

/** "vm"; "process" where one process is kept for all calls of a tender, and else "process, one a call". */
function isolationText({ isolation, processPer }: PackageStatus): string {
  return processPer === 'call' ? `${isolation}, one a call` : isolation || '-';
}

export function tenantLines(tenants: readonly TenantStatus[]): string[] {
  const head = ['TENANT', 'VEHICLES', 'WAITING', 'RUNNING', 'BYTES', 'OK', 'REFUSED', 'FAILED', 'MISSES', 'P50', 'P99'];
  const rows = tenants.map((one) => [
    ...[one.tenant, one.vehicles, one.waiting, one.running].map(String),
    mebibytes(one.bytes),
    ...[one.ok, one.refused, one.failed, one.misses].map(String),
    ...latency(one),
    ...[seconds(one.cpuMs), one.kept === undefined ? '-' : `${one.kept.count} (${mebibytes(one.kept.bytes)})`],
    one.quotas === undefined ? '-' : quotaText(one.quotas),
  ]);
  return rowsOf([...head, 'CPU', 'KEPT', 'QUOTA'], rows, 'no tenant has been here yet');
}

/** The quotas that are used most: "offloads 12/64, cpu 3/10". */
function quotaText(quotas: readonly QuotaUse[]): string {
  const used = quotas.filter(({ used, limit }) => used > 0 && Number.isFinite(limit));
  const most = used.sort((a, b) => b.used / b.limit - a.used / a.limit).slice(0, 2);
  return most.length === 0
    ? '-'
    : most.map(({ quota, used, limit }) => `${quota} ${count(used)}/${count(limit)}`).join(', ');
}

function count(value: number): string {
  return value >= 2 ** 20 ? mebibytes(value) : String(Math.round(value));
}

export function neighbourLines(neighbours: readonly NeighbourStatus[]): string[] {
  const rows = neighbours.map(({ broker, state, url, packages, notTaken, results, reason }) => [
    ...[broker, state, url || '-', String(packages.there), String(packages.waiting), String(notTaken.length)],
    ...[results === undefined ? '-' : String(results.waiting), reason || '-'],
  ]);
  const head = ['NEIGHBOUR', 'STATE', 'URL', 'PACKAGES', 'WAITING', 'NOT TAKEN', 'RESULTS', 'REASON'];
  const refused = neighbours.flatMap(({ broker, notTaken }) =>
    notTaken.map(({ tenant, digest, reason }) => `${broker} does not take ${digest} of tenant ${tenant}: ${reason}`),
  );
  return [...rowsOf(head, rows, 'the policy names no neighbours'), ...refused];
}

export function offloadLines({ offloads, total }: OffloadPage): string[] {
  const rows = offloads.map((one) => [
    ...[one.state, one.tenant, one.vehicle, one.task, one.class, `${one.ageMs} ms`, `${one.leftMs} ms`],
    ...[String(one.bytes), one.id],
  ]);
  const head = ['STATE', 'TENANT', 'VEHICLE', 'TASK', 'CLASS', 'AGE', 'LEFT', 'BYTES', 'ID'];
  return [...rowsOf(head, rows, 'nothing waits or runs'), ...more(total - offloads.length)];
}

export function stateLines({ keys, total }: StatePage): string[] {
  const rows = keys.map(({ tenant, task, vehicle, key, version, bytes, expiresInMs }) => [
    ...[tenant, task, vehicle === '' ? '(all)' : vehicle, key, String(version), String(bytes)],
    timeSpan(Math.max(0, expiresInMs)),
  ]);
  const head = ['TENANT', 'TASK', 'VEHICLE', 'KEY', 'VERSION', 'BYTES', 'EXPIRES IN'];
  return [...rowsOf(head, rows, 'no session has state here'), ...more(total - keys.length)];
}

export function vehicleLines({ vehicles, total }: VehiclePage): string[] {
  const rows = vehicles.map((one) => [
    ...[one.vehicle, one.tenant, String(one.connections), String(one.version), one.since],
    ...[one.pending, one.ok, one.refused, one.failed].map(String),
  ]);
  const head = ['VEHICLE', 'TENANT', 'CONNECTIONS', 'V2E', 'SINCE', 'PENDING', 'OK', 'REFUSED', 'FAILED'];
  return [...rowsOf(head, rows, 'no vehicle is connected'), ...more(total - vehicles.length)];
}

function more(count: number): string[] {
  return count > 0 ? [`and ${count} more; --limit shows more of them`] : [];
}

/** One line of `kerb broker top`: per second, since the look before. */
export interface TopRow {
  readonly tenant: string;
  /** Percent of one CPU. */
  readonly cpuPercent: number;
  readonly okPerSecond: number;
  readonly refusedPerSecond: number;
  readonly failedPerSecond: number;
  readonly missesPerSecond: number;
  readonly waiting: number;
  readonly running: number;
  readonly latency: TenantStatus['latency'];
}

/** The busiest first. @param elapsedMs between the two looks */
export function topRows(before: readonly TenantStatus[], now: readonly TenantStatus[], elapsedMs: number): TopRow[] {
  const rows = now.map((one): TopRow => {
    const last = before.find(({ tenant }) => tenant === one.tenant);
    const rate = (key: 'ok' | 'refused' | 'failed' | 'misses' | 'cpuMs') =>
      elapsedMs <= 0 ? 0 : (Math.max(0, one[key] - (last?.[key] ?? 0)) * 1000) / elapsedMs;
    return {
      tenant: one.tenant,
      cpuPercent: rate('cpuMs') / 10,
      okPerSecond: rate('ok'),
      refusedPerSecond: rate('refused'),
      failedPerSecond: rate('failed'),
      missesPerSecond: rate('misses'),
      ...{ waiting: one.waiting, running: one.running, latency: one.latency },
    };
  });
  return rows.sort(
    (a, b) => b.cpuPercent - a.cpuPercent || b.okPerSecond - a.okPerSecond || (a.tenant < b.tenant ? -1 : 1),
  );
}

export function topLines(rows: readonly TopRow[]): string[] {
  const head = ['TENANT', 'CPU', 'OK/S', 'REFUSED/S', 'FAILED/S', 'MISSES/S', 'WAITING', 'RUNNING', 'P50', 'P99'];
  if (rows.length === 0) return ['no tenant has been here yet'];
  const lines = rows.map((row) => [
    ...[row.tenant, `${row.cpuPercent.toFixed(1)} %`],
    ...[row.okPerSecond, row.refusedPerSecond, row.failedPerSecond, row.missesPerSecond].map((one) => one.toFixed(1)),
    ...[String(row.waiting), String(row.running), ...latency(row)],
  ]);
  return table([head, ...lines]);
}

function latency({ latency: { count, p50, p99 } }: Pick<TenantStatus, 'latency'>): string[] {
  return count === 0 ? ['-', '-'] : [`${p50.toFixed(1)} ms`, `${p99.toFixed(1)} ms`];
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

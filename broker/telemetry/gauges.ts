import { Counter, Gauge, type Registry } from 'prom-client';

export interface TenderCount {
  readonly isolation: string;
  readonly kept: boolean;
  readonly state: string;
  readonly bytes: number;
}

/** The numbers of a pool when the metrics are read. */
export interface PoolCount {
  readonly state: string;
  readonly tenders: Iterable<TenderCount>;
}

/** Tenders and packages, counted when the metrics are read. */
export function watchPools(registry: Registry, list: () => Iterable<PoolCount>): void {
  const registers = [registry];
  new Gauge({
    name: 'broker_tenders',
    help: 'Tenders by isolation and state.',
    labelNames: ['isolation', 'state'],
    registers,
    collect() {
      this.reset();
      for (const { tenders } of list()) {
        for (const { isolation, state } of tenders) this.labels(isolation, state).inc();
      }
    },
  });
  new Gauge({
    name: 'broker_tenders_kept_process',
    help: 'Tenders of isolation process that run all their calls in one process, and put it back after each.',
    registers,
    collect() {
      let count = 0;
      for (const { tenders } of list()) for (const { kept } of tenders) if (kept) count++;
      this.set(count);
    },
  });
  new Gauge({
    name: 'broker_tender_memory_bytes',
    help: 'What the tenders hold while they wait, or are taken to hold.',
    registers,
    collect() {
      let sum = 0;
      for (const { tenders } of list()) for (const { bytes } of tenders) sum += bytes;
      this.set(sum);
    },
  });
  new Gauge({
    name: 'broker_packages',
    help: 'Task packages by what an offload meets that comes now.',
    labelNames: ['state'],
    registers,
    collect() {
      this.reset();
      for (const { state } of list()) this.labels(state).inc();
    },
  });
}

/** Pushed packages, counted when the metrics are read. */
export function watchPushed(
  registry: Registry,
  list: () => Iterable<{ readonly tenant: string; readonly bytes: number }>,
): void {
  const registers = [registry];
  new Gauge({
    name: 'broker_pushed_packages',
    help: 'Task packages that a tenant has pushed and that are there.',
    labelNames: ['tenant'],
    registers,
    collect() {
      this.reset();
      for (const { tenant } of list()) this.labels(tenant).inc();
    },
  });
  new Gauge({
    name: 'broker_pushed_bytes',
    help: 'What the packages that a tenant has pushed take on the disk.',
    labelNames: ['tenant'],
    registers,
    collect() {
      this.reset();
      for (const { tenant, bytes } of list()) this.labels(tenant).inc(bytes);
    },
  });
}

/** Offloads that wait and run, and connections, counted when the metrics are read. */
export interface ActivityCounts {
  readonly clients: number;
  readonly draining: boolean;
  /** By the labels under which its tenant and task are counted. */
  pending(): Iterable<{ readonly labels: readonly [string, string]; readonly running: boolean }>;
}

export function watchActivity(registry: Registry, counts: () => ActivityCounts): void {
  const registers = [registry];
  const labelNames = ['tenant', 'task'];
  const waiting = new Gauge({
    name: 'broker_offloads_waiting',
    help: 'Offloads in the queue now.',
    labelNames,
    registers,
    collect() {
      waiting.reset();
      running.reset();
      for (const one of counts().pending()) (one.running ? running : waiting).labels(...one.labels).inc();
    },
  });
  const running = new Gauge({
    name: 'broker_offloads_running',
    help: 'Offloads that run now.',
    labelNames,
    registers,
  });
  new Gauge({
    name: 'broker_clients',
    help: 'Connections of vehicles.',
    registers,
    collect() {
      this.set(counts().clients);
    },
  });
  new Gauge({
    name: 'broker_draining',
    help: '1 while this broker is being drained: it takes nothing new.',
    registers,
    collect() {
      this.set(counts().draining ? 1 : 0);
    },
  });
}

/** There when an audit log is written. */
export function watchAudit(registry: Registry, lost: () => number): void {
  new Counter({
    name: 'broker_audit_lost_total',
    help: 'Lines of the audit log that could not be written; there when one is written.',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(lost());
    },
  });
}

/**
 * Resource usage of containers, under the names and labels of cAdvisor, so that dashboards that were made for it work:
 * id, name, image, and of the container's labels the one that says which workload it is.
 */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { ContainerUsage } from '../../shared/api/obu.ts';

const LABELS = ['id', 'name', 'image', 'container_label_kerbside_workload'] as const;
/** The kernel's period of CPU limits, in microseconds; the engine uses it for all. */
const CPU_PERIOD_US = 100_000;

type Read = (usage: ContainerUsage) => number | undefined;

const counters: readonly (readonly [name: string, help: string, read: Read])[] = [
  ['container_cpu_usage_seconds_total', 'Cumulative cpu time consumed in seconds.', ({ cpu }) => cpu.total],
  ['container_cpu_user_seconds_total', 'Cumulative user cpu time consumed in seconds.', ({ cpu }) => cpu.user],
  ['container_cpu_system_seconds_total', 'Cumulative system cpu time consumed in seconds.', ({ cpu }) => cpu.system],
  [
    'container_cpu_cfs_periods_total',
    'Number of elapsed enforcement period intervals.',
    ({ throttling, cpuLimit }) => (cpuLimit > 0 ? throttling.periods : undefined),
  ],
  [
    'container_cpu_cfs_throttled_periods_total',
    'Number of throttled period intervals.',
    ({ throttling, cpuLimit }) => (cpuLimit > 0 ? throttling.throttledPeriods : undefined),
  ],
  [
    'container_cpu_cfs_throttled_seconds_total',
    'Total time duration the container has been throttled.',
    ({ throttling, cpuLimit }) => (cpuLimit > 0 ? throttling.throttledSeconds : undefined),
  ],
];

const gauges: readonly (readonly [name: string, help: string, read: Read])[] = [
  [
    'container_memory_usage_bytes',
    'Current memory usage in bytes, including all memory regardless of when it was accessed.',
    ({ memory }) => memory.usage,
  ],
  ['container_memory_working_set_bytes', 'Current working set in bytes.', ({ memory }) => memory.workingSet],
  ['container_memory_rss', 'Size of RSS in bytes.', ({ memory }) => memory.rss],
  ['container_memory_cache', 'Number of bytes of page cache memory.', ({ memory }) => memory.cache],
  ['container_spec_memory_limit_bytes', 'Memory limit for the container; 0: none.', ({ memory }) => memory.limit],
  [
    'container_spec_cpu_period',
    'CPU period of the container, in microseconds.',
    ({ cpuLimit }) => (cpuLimit > 0 ? CPU_PERIOD_US : undefined),
  ],
  [
    'container_spec_cpu_quota',
    'CPU quota of the container, in microseconds per period.',
    ({ cpuLimit }) => (cpuLimit > 0 ? Math.round(cpuLimit * CPU_PERIOD_US) : undefined),
  ],
  ['container_threads', 'Number of threads running inside the container.', ({ threads }) => threads],
  [
    'container_start_time_seconds',
    'Start time of the container since unix epoch in seconds.',
    ({ startedAtMs }) => startedAtMs / 1000,
  ],
  ['container_last_seen', 'Last time a container was seen by the exporter.', ({ timeMs }) => Math.floor(timeMs / 1000)],
];

export class ContainerMetrics {
  readonly #metrics: readonly { readonly read: Read; readonly metric: Counter | Gauge; readonly cpu: boolean }[];

  constructor(registry: Registry) {
    const registers = [registry];
    this.#metrics = [
      ...counters.map(([name, help, read]) => {
        // cAdvisor tells CPUs apart, and calls the sum of them so where it doesn't.
        const cpu = name === 'container_cpu_usage_seconds_total';
        const labelNames = cpu ? [...LABELS, 'cpu'] : [...LABELS];
        return { read, cpu, metric: new Counter({ name, help, labelNames, registers }) };
      }),
      ...gauges.map(([name, help, read]) => {
        return { read, cpu: false, metric: new Gauge({ name, help, labelNames: [...LABELS], registers }) };
      }),
    ];
  }

  /** From now on these containers are there and no others. */
  set(usages: readonly ContainerUsage[]): void {
    for (const { read, metric, cpu } of this.#metrics) {
      // The kernel counts: the value is set, not added.
      metric.reset();
      for (const usage of usages) {
        const value = read(usage);
        if (value !== undefined) metric.inc({ ...labelsOf(usage), ...(cpu && { cpu: 'total' }) }, value);
      }
    }
  }
}

function labelsOf({ id, container, image, workload }: ContainerUsage): Record<(typeof LABELS)[number], string> {
  return { id: `/docker/${id}`, name: container, image, container_label_kerbside_workload: workload };
}

import { Counter, Histogram, type Registry } from 'prom-client';
import { createRegistry } from '../../shared/api/metrics.ts';
import { errorName } from '../../shared/base/errors.ts';
import { reasonOf } from '../../shared/protocol/refusal-reason.ts';
import type { CallUse } from '../tenders/process/tender.ts';
import { BoundedLabels } from './bounded-labels.ts';
import { type ActivityCounts, type PoolCount, watchActivity, watchAudit, watchPools, watchPushed } from './gauges.ts';

export type Phase = 'queue' | 'start' | 'run' | 'total';

interface CounterChild {
  inc(value?: number): void;
}

interface HistogramChild {
  observe(value: number): void;
}

/** Series that have labels of their own: of a tenant and task, of a task, of a tenant that pushes. */
interface PairSeries {
  readonly results: Map<string, CounterChild>;
  cpu?: CounterChild;
  misses?: CounterChild;
  latency?: HistogramChild;
  useless?: CounterChild;
}
interface TaskSeries {
  memory?: HistogramChild;
}

/** How many pairs of tenant and task, how many tasks, and how many tenants that push have labels of their own. */
const MOST_PAIRS = 50;
const MOST_TASKS = 50;
const MOST_PUSHERS = 50;
/** How often it is settled anew which these are, at most. */
const SETTLE_MS = 15_000;
/** Tenants whose processor time is added up. */
const MAX_TENANTS = 1000;

const LATENCY_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];
const SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** From 16 KiB to the 256 MiB that no task may pass. */
const BYTES = Array.from({ length: 8 }, (_, index) => 16_384 * 4 ** index);

/**
 * The broker's metrics, under the names of the design.
 *
 * Hot path: prom-client hashes labels at every call of `labels`, so the labelled counters are looked up once and kept.
 */
export class BrokerMetrics {
  readonly registry: Registry = createRegistry();
  readonly #offloads: Counter;
  readonly #refusals: Counter;
  readonly #misses: Counter;
  readonly #phases: Readonly<Record<Phase, { observe(seconds: number): void }>>;
  readonly #latency: Histogram;
  readonly #useless: Counter;
  readonly #estimates: Histogram;
  readonly #cpu: Counter;
  readonly #memory: Histogram;
  readonly #pushes: Counter;
  readonly #pairs = new BoundedLabels<PairSeries>(
    MOST_PAIRS,
    () => ({ results: new Map() }),
    ({ labels, children: { results } }) => {
      for (const result of results.keys()) this.#offloads.remove(...labels, result);
      for (const one of [this.#cpu, this.#misses, this.#latency, this.#useless]) one.remove(...labels);
    },
  );
  readonly #tasks = new BoundedLabels<TaskSeries>(
    MOST_TASKS,
    () => ({}),
    ({ labels: [task] }) => this.#memory.remove(task),
  );
  readonly #pushers = new BoundedLabels<Set<string>>(
    MOST_PUSHERS,
    () => new Set(),
    ({ labels: [tenant], children }) => {
      for (const result of children) this.#pushes.remove(tenant, result);
    },
  );
  readonly #cpuMs = new Map<string, number>();
  #settledAt = 0;

  constructor() {
    const registers = [this.registry];
    this.#offloads = new Counter({
      name: 'broker_offloads_total',
      help: 'Offloads by tenant, task and result (ok, or the name of the error).',
      labelNames: ['tenant', 'task', 'result'],
      registers,
    });
    this.#refusals = new Counter({
      name: 'broker_refusals_total',
      help: 'Offloads that were not taken, by reason.',
      labelNames: ['reason'],
      registers,
    });
    this.#misses = new Counter({
      name: 'broker_deadline_misses_total',
      help: 'Offloads whose budget ran out while they waited or ran, and results that were later than it.',
      labelNames: ['tenant', 'task'],
      registers,
    });
    this.#latency = new Histogram({
      name: 'broker_offload_latency_seconds',
      help: 'Time from the arrival of an offload to its result, kept results included.',
      labelNames: ['tenant', 'task'],
      buckets: LATENCY_SECONDS,
      registers,
    });
    this.#useless = new Counter({
      name: 'broker_useless_runs_total',
      help: 'Runs that ended after the deadline, by it, or when no caller waited any more.',
      labelNames: ['tenant', 'task'],
      registers,
    });
    this.#estimates = new Histogram({
      name: 'broker_run_estimate_ratio',
      help: 'How long a run took, over how long admission had expected it to take.',
      buckets: [0.1, 0.25, 0.5, 0.75, 0.9, 1.1, 1.5, 2, 4, 10],
      registers,
    });
    this.#cpu = new Counter({
      name: 'broker_guest_cpu_seconds_total',
      help: 'What the unikernels of a tenant computed, by task.',
      labelNames: ['tenant', 'task'],
      registers,
    });
    this.#memory = new Histogram({
      name: 'broker_guest_memory_bytes',
      help: 'Most of its own memory (data, stack, heap) that a unikernel had in use during one call, by task.',
      labelNames: ['task'],
      buckets: BYTES,
      registers,
    });
    this.#pushes = new Counter({
      name: 'broker_pushes_total',
      help: 'Pushes and removals of task packages by tenant and result (stored, already_there, removed, broken_off, or the name of the error).',
      labelNames: ['tenant', 'result'],
      registers,
    });
    const seconds = new Histogram({
      name: 'broker_offload_seconds',
      help: 'Time of successful offloads: waiting for their turn, making a tender ready and handing over to it and back, inside the unikernel, altogether.',
      labelNames: ['phase'],
      buckets: SECONDS,
      registers,
    });
    this.#phases = {
      queue: seconds.labels('queue'),
      start: seconds.labels('start'),
      run: seconds.labels('run'),
      total: seconds.labels('total'),
    };
  }

  watchPools(list: () => Iterable<PoolCount>): void {
    watchPools(this.registry, list);
  }

  watchPushed(list: () => Iterable<{ readonly tenant: string; readonly bytes: number }>): void {
    watchPushed(this.registry, list);
  }

  watchActivity(counts: () => ActivityCounts): void {
    watchActivity(this.registry, counts);
  }

  /** `lost`: lines of the audit log that could not be written. */
  watchAudit(lost: () => number): void {
    watchAudit(this.registry, lost);
  }

  /** A push or a removal has come to its end. */
  pushed(tenant: string, result: string): void {
    const { labels, children } = this.#pushers.use(tenant, '');
    children.add(result);
    this.#pushes.labels(labels[0], result).inc();
  }

  /** A call used this much, whatever its outcome was. */
  used(tenant: string, task: string, { cpuMs, peakMemory }: CallUse): void {
    const { labels, children } = this.#pairs.use(tenant, task);
    children.cpu ??= this.#cpu.labels(...labels);
    children.cpu.inc(cpuMs / 1000);
    const ofTask = this.#tasks.use(task, '');
    ofTask.children.memory ??= this.#memory.labels(ofTask.labels[0]);
    ofTask.children.memory.observe(peakMemory);
    const before = this.#cpuMs.get(tenant);
    if (before !== undefined || this.#cpuMs.size < MAX_TENANTS) this.#cpuMs.set(tenant, (before ?? 0) + cpuMs);
  }

  /** Processor time of all calls of a tenant, in milliseconds. */
  cpuMsOf(tenant: string): number {
    return this.#cpuMs.get(tenant) ?? 0;
  }

  ok(tenant: string, task: string): void {
    this.#count(tenant, task, 'ok');
  }

  /** It was taken, and did not succeed. */
  failed(tenant: string, task: string, code: number): void {
    this.#count(tenant, task, errorName(code));
  }

  /** It was not taken. */
  refused(tenant: string, task: string, code: number): void {
    this.#count(tenant, task, errorName(code));
    this.#refusals.labels(reasonOf(code)).inc();
  }

  /** The budget ran out here, or the result was later than it. */
  missed(tenant: string, task: string): void {
    const { labels, children } = this.#pairs.use(tenant, task);
    children.misses ??= this.#misses.labels(...labels);
    children.misses.inc();
  }

  took(phase: Phase, ms: number): void {
    this.#phases[phase].observe(ms / 1000);
  }

  /** A caller has its result so long after its request came. */
  answered(tenant: string, task: string, ms: number): void {
    const { labels, children } = this.#pairs.use(tenant, task);
    children.latency ??= this.#latency.labels(...labels);
    children.latency.observe(ms / 1000);
  }

  /** The labels under which something of this tenant and task is counted now. */
  labelsOf(tenant: string, task: string): readonly [string, string] {
    return this.#pairs.labelsOf(tenant, task);
  }

  /** A run took so long, and had been expected to take so long; milliseconds. */
  ran(expectedMs: number, tookMs: number): void {
    if (expectedMs > 0) this.#estimates.observe(tookMs / expectedMs);
  }

  /** A run ended after its deadline, by it, or when no caller waited for it any more. */
  useless(tenant: string, task: string): void {
    const { labels, children } = this.#pairs.use(tenant, task);
    children.useless ??= this.#useless.labels(...labels);
    children.useless.inc();
  }

  /** All of them, as Prometheus reads them. */
  async text(): Promise<{ readonly type: string; readonly body: string }> {
    const now = performance.now();
    if (now - this.#settledAt >= SETTLE_MS) {
      this.#settledAt = now;
      for (const labels of [this.#pairs, this.#tasks, this.#pushers]) labels.settle();
    }
    return { type: this.registry.contentType, body: await this.registry.metrics() };
  }

  #count(tenant: string, task: string, result: string): void {
    const { labels, children } = this.#pairs.use(tenant, task);
    let child = children.results.get(result);
    if (child === undefined) {
      child = this.#offloads.labels(...labels, result);
      children.results.set(result, child);
    }
    child.inc();
  }
}

import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { createRegistry } from '../../shared/api/metrics.ts';
import { errorName } from '../../shared/base/errors.ts';
import type { CallUse } from '../tenders/process/tender.ts';

export type Phase = 'queue' | 'start' | 'run' | 'total';

/** The numbers of a pool when the metrics are read. */
export interface PoolCount {
  readonly state: string;
  readonly tenders: Iterable<{ readonly isolation: string; readonly state: string; readonly bytes: number }>;
}

interface CounterChild {
  inc(value?: number): void;
}

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
  readonly #cpu: Counter;
  readonly #memory: Histogram;
  readonly #pushes: Counter;
  readonly #kept = new Map<string, CounterChild>();
  readonly #keptCpu = new Map<string, CounterChild>();
  readonly #keptMemory = new Map<string, { observe(bytes: number): void }>();

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
      help: 'Offloads whose budget ran out while they waited or ran.',
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

  /** Tenders and packages are counted when the metrics are read. */
  watchPools(list: () => Iterable<PoolCount>): void {
    const registers = [this.registry];
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

  /** Pushed packages are counted when the metrics are read. */
  watchPushed(list: () => Iterable<{ readonly tenant: string; readonly bytes: number }>): void {
    const registers = [this.registry];
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

  /** A push or a removal has come to its end. */
  pushed(tenant: string, result: string): void {
    this.#pushes.labels(tenant, result).inc();
  }

  /** What a call took, whatever came of it. */
  used(tenant: string, task: string, { cpuMs, peakMemory }: CallUse): void {
    this.#lookUp(this.#keptCpu, this.#cpu, tenant, task).inc(cpuMs / 1000);
    let memory = this.#keptMemory.get(task);
    if (memory === undefined) {
      memory = this.#memory.labels(task);
      this.#keptMemory.set(task, memory);
    }
    memory.observe(peakMemory);
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
    this.#refusals.labels(errorName(code)).inc();
  }

  deadlineMissed(): void {
    this.#misses.inc();
  }

  took(phase: Phase, ms: number): void {
    this.#phases[phase].observe(ms / 1000);
  }

  #count(tenant: string, task: string, result: string): void {
    this.#lookUp(this.#kept, this.#offloads, tenant, task, result).inc();
  }

  #lookUp(kept: Map<string, CounterChild>, counter: Counter, ...labels: string[]): CounterChild {
    const key = labels.join('\n');
    let child = kept.get(key);
    if (child === undefined) {
      child = counter.labels(...labels);
      kept.set(key, child);
    }
    return child;
  }
}

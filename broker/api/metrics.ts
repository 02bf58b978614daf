import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { errorName } from '../../shared/errors.ts';
import { createRegistry } from '../../shared/metrics.ts';

export type Phase = 'queue' | 'start' | 'run' | 'total';

export interface TenderCount {
  readonly isolation: string;
  readonly state: string;
}

const SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

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
  readonly #kept = new Map<string, { inc(): void }>();

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
    const seconds = new Histogram({
      name: 'broker_offload_seconds',
      help: 'Time of successful offloads: waiting, handing over to the tender and back, inside the unikernel, altogether.',
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

  /** Tenders are counted when the metrics are read. */
  watchTenders(list: () => Iterable<TenderCount>): void {
    new Gauge({
      name: 'broker_tenders',
      help: 'Tenders by isolation and state.',
      labelNames: ['isolation', 'state'],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const { isolation, state } of list()) this.labels(isolation, state).inc();
      },
    });
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
    const key = `${tenant}\n${task}\n${result}`;
    let counter = this.#kept.get(key);
    if (counter === undefined) {
      counter = this.#offloads.labels(tenant, task, result);
      this.#kept.set(key, counter);
    }
    counter.inc();
  }
}

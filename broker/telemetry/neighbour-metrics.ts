import { Counter, Gauge, type Registry } from 'prom-client';
import type { NeighbourStatus } from '../../shared/api/broker.ts';
import type { ForwardedKind, ForwardedResult } from '../neighbours/neighbour-events.ts';

/** The metrics of neighbours. Their number is bounded by the policy, which names each of them. */
export class NeighbourMetrics {
  readonly #registry: Registry;
  readonly #forwarded: Counter;
  readonly #fetched: Counter;

  constructor(registry: Registry) {
    this.#registry = registry;
    const registers = [registry];
    const labelNames = ['kind', 'neighbour', 'result'];
    this.#forwarded = new Counter({
      name: 'broker_forwarded_total',
      help: 'Packages, results, claims and requests for state that went to a neighbour, by what came of it (taken, there already, refused, failed, dropped).',
      labelNames,
      registers,
    });
    this.#fetched = new Counter({
      name: 'broker_fetched_total',
      help: 'Packages, results, claims and requests for state that came from a neighbour, by what came of it (taken, there already, refused, failed, dropped).',
      labelNames,
      registers,
    });
  }

  readonly forwarded = (kind: ForwardedKind, neighbour: string, result: ForwardedResult): void =>
    this.#forwarded.labels(kind, neighbour, result).inc();

  readonly fetched = (kind: ForwardedKind, neighbour: string, result: ForwardedResult): void =>
    this.#fetched.labels(kind, neighbour, result).inc();

  watch(list: () => readonly NeighbourStatus[]): void {
    const registers = [this.#registry];
    new Gauge({
      name: 'broker_neighbour_connected',
      help: '1 while a neighbour of the policy is connected.',
      labelNames: ['neighbour'],
      registers,
      collect() {
        this.reset();
        for (const { broker, state } of list()) this.labels(broker).set(state === 'connected' ? 1 : 0);
      },
    });
    new Gauge({
      name: 'broker_forward_waiting',
      help: 'Packages and results that wait to be forwarded to a neighbour.',
      labelNames: ['neighbour', 'kind'],
      registers,
      collect() {
        this.reset();
        for (const { broker, packages, results } of list()) {
          this.labels(broker, 'package').set(packages.waiting);
          if (results !== undefined) this.labels(broker, 'result').set(results.waiting);
        }
      },
    });
  }
}

import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { SessionEnd } from '../offloads/sessions.ts';
import type { KeyOperation } from '../state/key-requests.ts';
import type { StateUse } from '../state/state-types.ts';

const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const ENDS: readonly SessionEnd[] = ['written', 'kept', 'repeated', 'conflict', 'quota', 'failed'];

/** The metrics of the state of sessions. */
export class StateMetrics {
  readonly #registry: Registry;
  readonly #ends: ReadonlyMap<SessionEnd, Counter.Internal>;
  readonly #requests: Counter;
  readonly #commit: Histogram;

  constructor(registry: Registry) {
    this.#registry = registry;
    const registers = [registry];
    const ends = new Counter({
      name: 'broker_state_offloads_total',
      help: 'Ends of runs with state, by result: written, kept (as it was), repeated (applied before), conflict (run again), quota, failed.',
      labelNames: ['result'],
      registers,
    });
    this.#ends = new Map(ENDS.map((end) => [end, ends.labels(end)]));
    this.#requests = new Counter({
      name: 'broker_state_requests_total',
      help: 'Requests for single keys by operation (get, put, cas, delete) and result (done, refused).',
      labelNames: ['operation', 'result'],
      registers,
    });
    this.#commit = new Histogram({
      name: 'broker_state_commit_seconds',
      help: 'From the first change of a transaction to its being on the disk.',
      buckets: SECONDS,
      registers,
    });
  }

  ended(end: SessionEnd): void {
    this.#ends.get(end)!.inc();
  }

  requested(operation: KeyOperation, isDone: boolean): void {
    this.#requests.labels(operation, isDone ? 'done' : 'refused').inc();
  }

  committed(ms: number): void {
    this.#commit.observe(ms / 1000);
  }

  /** `uses`: of each tenant, read when the metrics are. */
  watch(uses: () => Iterable<StateUse>): void {
    const registers = [this.#registry];
    const sum = (name: string, help: string, of: (use: StateUse) => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          let total = 0;
          for (const use of uses()) total += of(use);
          this.set(total);
        },
      });
    sum('broker_state_keys', 'Keys that have a value.', ({ keys }) => keys);
    sum('broker_state_outputs', 'Outputs that are kept for retries of offloads with state.', ({ outputs }) => outputs);
    sum('broker_state_bytes', 'Bytes of values and kept outputs, on the disk.', ({ bytes }) => bytes);
  }
}

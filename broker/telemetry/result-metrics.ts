import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** Numbers of what is kept when the metrics are read. */
export interface KeptCounts {
  readonly count: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  /** Why nothing is written to the disk; empty: it is. */
  readonly reason: string;
}

/** Why a result is kept no longer, or was not. */
export type ResultEnd = 'expired' | 'evicted' | 'lost' | 'not_kept';

const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** The metrics of kept results and receipts. Hot path: the labelled counters are looked up once. */
export class ResultMetrics {
  readonly #registry: Registry;
  readonly #kept: Readonly<Record<'memory' | 'disk', Counter.Internal>>;
  readonly #ended: Readonly<Record<ResultEnd, Counter.Internal>>;
  readonly #answered: Counter;
  readonly #joined: Counter;
  readonly #secondRuns: Counter;
  readonly #commit: Histogram;
  readonly #receipts: Readonly<Record<'signed' | 'failed', Counter.Internal>>;
  readonly #signatures: Counter;

  constructor(registry: Registry) {
    this.#registry = registry;
    const registers = [registry];
    const kept = new Counter({
      name: 'broker_results_kept_total',
      help: 'Results that were kept, by place (memory, disk). One that was to be durable and is in memory could not be written in time.',
      labelNames: ['place'],
      registers,
    });
    this.#kept = { memory: kept.labels('memory'), disk: kept.labels('disk') };
    const ended = new Counter({
      name: 'broker_results_ended_total',
      help: 'Results that are kept no longer, by reason (expired, evicted for a newer one, lost on the disk), and those that did not fit (not_kept).',
      labelNames: ['reason'],
      registers,
    });
    const [expired, evicted] = [ended.labels('expired'), ended.labels('evicted')];
    this.#ended = { expired, evicted, lost: ended.labels('lost'), not_kept: ended.labels('not_kept') };
    this.#answered = new Counter({
      name: 'broker_results_answered_total',
      help: 'Offloads that were answered with a kept result.',
      registers,
    });
    this.#joined = new Counter({
      name: 'broker_offloads_joined_total',
      help: 'Offloads that joined the run of the same request.',
      registers,
    });
    this.#secondRuns = new Counter({
      name: 'broker_second_runs_total',
      help: 'Runs of an offload that had been run to its end before, and whose result was not kept any more.',
      registers,
    });
    this.#commit = new Histogram({
      name: 'broker_result_commit_seconds',
      help: 'Time until durable results were on the disk, from the first of each commit.',
      buckets: SECONDS,
      registers,
    });
    const receipts = new Counter({
      name: 'broker_receipts_total',
      help: 'Receipts by result (signed, failed).',
      labelNames: ['result'],
      registers,
    });
    this.#receipts = { signed: receipts.labels('signed'), failed: receipts.labels('failed') };
    this.#signatures = new Counter({
      name: 'broker_receipt_signatures_total',
      help: 'Signatures that were made for receipts; one signs all that came while the last one was made.',
      registers,
    });
  }

  /** They are counted when the metrics are read. */
  watch(counts: () => KeptCounts): void {
    const registers = [this.#registry];
    new Gauge({
      name: 'broker_results',
      help: 'Results that are kept.',
      registers,
      collect() {
        this.set(counts().count);
      },
    });
    new Gauge({
      name: 'broker_results_bytes',
      help: 'Outputs that are kept, by place (memory, disk).',
      labelNames: ['place'],
      registers,
      collect() {
        const { memoryBytes, diskBytes } = counts();
        this.labels('memory').set(memoryBytes);
        this.labels('disk').set(diskBytes);
      },
    });
    new Gauge({
      name: 'broker_results_writable',
      help: '1 while results can be written to the disk, else 0.',
      registers,
      collect() {
        this.set(counts().reason === '' ? 1 : 0);
      },
    });
  }

  kept(place: 'memory' | 'disk'): void {
    this.#kept[place].inc();
  }

  ended(why: ResultEnd): void {
    this.#ended[why].inc();
  }

  answered(): void {
    this.#answered.inc();
  }

  joined(): void {
    this.#joined.inc();
  }

  secondRun(): void {
    this.#secondRuns.inc();
  }

  committed(ms: number): void {
    this.#commit.observe(ms / 1000);
  }

  /** So many receipts, with one signature. */
  signed(receipts: number, ok: boolean): void {
    this.#receipts[ok ? 'signed' : 'failed'].inc(receipts);
    if (ok) this.#signatures.inc();
  }
}

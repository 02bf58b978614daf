import { Counter, Gauge, type Registry } from 'prom-client';

export const DIRECTIONS = ['input', 'output'] as const;
export type Direction = (typeof DIRECTIONS)[number];

/** `kept`: its caller is away and may go on with it. */
export const TRANSFER_STATES = ['waiting', 'active', 'kept', 'checking'] as const;
export type TransferState = (typeof TRANSFER_STATES)[number];

/** `bad`: chunks or hash were not as announced. `lost`: of a caller that is away and did not come back. */
export const TRANSFER_ENDS = ['done', 'bad', 'cancelled', 'late', 'stalled', 'lost', 'stopped'] as const;
export type TransferEnd = (typeof TRANSFER_ENDS)[number];

/** Transfers now: their number by state, and the bytes that they hold. */
export interface TransferCounts {
  readonly states: Readonly<Partial<Record<TransferState, number>>>;
  readonly bytes: number;
}

/** Inputs and outputs that cross the wire in chunks. Every series is there from the start, because what appears later hides its first count. */
export class TransferMetrics {
  readonly #ends: Counter;
  readonly #bytes: Readonly<Record<Direction, { inc(value: number): void }>>;
  readonly #resumed: Counter;
  readonly #stray: Counter;
  readonly #registers: Registry[];

  constructor(registry: Registry) {
    const registers = [registry];
    this.#registers = registers;
    this.#ends = new Counter({
      name: 'broker_transfers_total',
      help: 'Inputs and outputs in chunks that have come to an end, by direction and result (done, bad, cancelled, late, stalled, lost, stopped).',
      labelNames: ['direction', 'result'],
      registers,
    });
    for (const direction of DIRECTIONS) for (const end of TRANSFER_ENDS) this.#ends.inc({ direction, result: end }, 0);
    const bytes = new Counter({
      name: 'broker_transfer_bytes_total',
      help: 'Bytes of inputs and outputs that crossed the wire in chunks, by direction.',
      labelNames: ['direction'],
      registers,
    });
    this.#bytes = { input: bytes.labels('input'), output: bytes.labels('output') };
    this.#resumed = new Counter({
      name: 'broker_transfers_resumed_total',
      help: 'Inputs and outputs in chunks that went on where a lost connection had left them, by direction.',
      labelNames: ['direction'],
      registers,
    });
    for (const direction of DIRECTIONS) this.#resumed.inc({ direction }, 0);
    this.#stray = new Counter({
      name: 'broker_stray_chunks_total',
      help: 'Chunks and credits that belonged to no transfer, such as those on their way when it ended.',
      registers,
    });
  }

  watch(counts: Readonly<Record<Direction, () => TransferCounts>>): void {
    new Gauge({
      name: 'broker_transfers',
      help: 'Inputs and outputs in chunks by direction and state (waiting, active, kept, checking).',
      labelNames: ['direction', 'state'],
      registers: this.#registers,
      collect() {
        for (const direction of DIRECTIONS) {
          const { states } = counts[direction]();
          for (const state of TRANSFER_STATES) this.set({ direction, state }, states[state] ?? 0);
        }
      },
    });
    new Gauge({
      name: 'broker_transfer_bytes',
      help: 'Memory that inputs and outputs in chunks hold until they are whole, by direction.',
      labelNames: ['direction'],
      registers: this.#registers,
      collect() {
        for (const direction of DIRECTIONS) this.set({ direction }, counts[direction]().bytes);
      },
    });
  }

  ended(direction: Direction, end: TransferEnd): void {
    this.#ends.inc({ direction, result: end });
  }

  moved(direction: Direction, bytes: number): void {
    this.#bytes[direction].inc(bytes);
  }

  resumed(direction: Direction): void {
    this.#resumed.inc({ direction });
  }

  stray(): void {
    this.#stray.inc();
  }
}

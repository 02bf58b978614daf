/**
 * One subscription over gRPC. A subscriber that reads slowly loses values, counted, and nobody else notices: of what it
 * has not taken, the latest value of each path is kept (buffer size 0), or so many messages, the newest.
 */
import type { SignalValue } from '../../../shared/vss/signal.ts';
import { DropOldestQueue } from '../streams/drop-oldest-queue.ts';

/** What a subscription writes to: grpc-js's stream. */
export interface MessageSink {
  /** Whether it can take more now; `drain` follows when not. */
  write(values: readonly SignalValue[]): boolean;
}

export interface SubscriberOptions {
  /** Messages that wait for a slow subscriber; 0: the latest value of each path. */
  readonly bufferSize: number;
  /** At most one value of a path in this time, the latest; 0: every value. */
  readonly minIntervalMs: number;
  /** Called with the number of values that were lost. */
  readonly onDrop: (count: number) => void;
}

export class Subscriber {
  readonly #sink: MessageSink;
  readonly #options: SubscriberOptions;
  readonly #latest = new Map<string, SignalValue>();
  readonly #queue: DropOldestQueue<readonly SignalValue[]> | undefined;
  /** With an interval: what came since the last message. */
  readonly #collected = new Map<string, SignalValue>();
  #timer: NodeJS.Timeout | undefined;
  #blocked = false;
  #ended = false;

  constructor(sink: MessageSink, options: SubscriberOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#queue = options.bufferSize > 0 ? new DropOldestQueue(options.bufferSize) : undefined;
  }

  readonly push = (values: readonly SignalValue[]): void => {
    if (this.#ended) return;
    if (this.#options.minIntervalMs === 0) {
      this.#send(values);
      return;
    }
    for (const value of values) this.#collected.set(value.path, value);
    if (this.#timer === undefined) this.#sendCollected();
  };

  /** The sink can take more. */
  readonly drained = (): void => {
    this.#blocked = false;
    while (!this.#blocked && !this.#ended) {
      const next = this.#queue?.shift() ?? [...this.#latest.values()];
      if (next.length === 0) return;
      this.#latest.clear();
      this.#blocked = !this.#sink.write(next);
    }
  };

  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  #sendCollected(): void {
    this.#timer = undefined;
    if (this.#collected.size === 0) return;
    this.#send([...this.#collected.values()]);
    this.#collected.clear();
    this.#timer = setTimeout(() => this.#sendCollected(), this.#options.minIntervalMs);
  }

  #send(values: readonly SignalValue[]): void {
    if (!this.#blocked) {
      this.#blocked = !this.#sink.write(values);
      return;
    }
    if (this.#queue !== undefined) {
      if (this.#queue.isFull) this.#options.onDrop(this.#queue.oldest!.length);
      this.#queue.push(values);
      return;
    }
    let lost = 0;
    for (const value of values) {
      if (this.#latest.has(value.path)) lost++;
      this.#latest.set(value.path, value);
    }
    if (lost > 0) this.#options.onDrop(lost);
  }
}

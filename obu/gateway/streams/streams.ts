/**
 * The three kinds of subscription, each a bounded queue between a source of the OBU and the outbox of a connection.
 *
 * Hot path, called for every frame, signal and picture that the container may have: a push into a ring and one wake of
 * the outbox.
 */

import type { BusState } from '../../../shared/can/bus.ts';
import type { CanFrame } from '../../../shared/can/frame.ts';
import type { SignalValue } from '../../../shared/vss/signal.ts';
import { sameValue } from '../../../shared/vss/signal-list.ts';
import type { Picture } from '../../dashcam/capture/camera.ts';
import { DropOldestQueue } from './drop-oldest-queue.ts';
import type { Stream } from './outbox.ts';
import { encodeCanFrames, encodePicture, encodeSignalValues } from './wire.ts';

/** Frames of a 500 kbit/s bus at full load for about one second. */
const CAN_QUEUE = 4096;
const CAN_BATCH = 512;
const SIGNAL_QUEUE = 4096;
const SIGNAL_BATCH = 1024;
/** A picture is worth something while it is fresh: the next one, and one in the making. */
const CAMERA_QUEUE = 2;

/** Takes from a queue while it is being encoded, so that no array is made for a batch. */
function* upTo<T>(queue: DropOldestQueue<T>, count: number): Generator<T> {
  for (let i = 0; i < count; i++) {
    const item = queue.shift();
    if (item === undefined) return;
    yield item;
  }
}

export class CanStream implements Stream {
  readonly #request: number;
  readonly #bus: string;
  readonly #queue = new DropOldestQueue<CanFrame>(CAN_QUEUE);
  /** What the container has not heard yet. */
  #state: BusState | undefined;
  readonly #wake: (stream: Stream) => void;
  readonly #onDrop: () => void;

  constructor(request: number, bus: string, wake: (stream: Stream) => void, onDrop: () => void) {
    this.#request = request;
    this.#bus = bus;
    this.#wake = wake;
    this.#onDrop = onDrop;
  }

  readonly push = (frame: CanFrame): void => {
    if (this.#queue.push(frame)) this.#onDrop();
    if (this.#queue.size === 1) this.#wake(this);
  };

  readonly stateChanged = (state: BusState): void => {
    this.#state = state;
    this.#wake(this);
  };

  take(): readonly Uint8Array[] | undefined {
    // The state is that after the frames: with more of them than fit a message it goes with the last.
    const state = this.#queue.size <= CAN_BATCH ? this.#state : undefined;
    if (this.#queue.size === 0 && state === undefined) return undefined;
    if (state !== undefined) this.#state = undefined;
    return [encodeCanFrames(this.#request, this.#bus, upTo(this.#queue, CAN_BATCH), this.#queue.dropped, state)];
  }
}

export interface SignalStreamOptions {
  /** At most one value of a path in this time, the latest; 0: every value. */
  readonly minIntervalMs: number;
  /** Only values that differ from the last one of their path that was delivered. */
  readonly onChange: boolean;
}

export class SignalStream implements Stream {
  readonly #request: number;
  readonly #options: SignalStreamOptions;
  readonly #queue = new DropOldestQueue<SignalValue>(SIGNAL_QUEUE);
  /** With an interval: the latest value of each path since the last delivery. */
  readonly #latest = new Map<string, SignalValue>();
  /** On change: what was delivered last of each path. */
  readonly #delivered = new Map<string, SignalValue>();
  readonly #wake: (stream: Stream) => void;
  readonly #onSent: (count: number, newestUs: number) => void;
  readonly #onDrop: () => void;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  /**
   * @param onSent Called with the number of values handed over and the time of the newest.
   * @param onDrop Called for each value that a slow container lost.
   */
  constructor(
    request: number,
    options: SignalStreamOptions,
    wake: (stream: Stream) => void,
    onSent: (count: number, newestUs: number) => void,
    onDrop: () => void,
  ) {
    this.#request = request;
    this.#options = options;
    this.#wake = wake;
    this.#onSent = onSent;
    this.#onDrop = onDrop;
  }

  readonly push = (values: readonly SignalValue[]): void => {
    if (this.#ended) return;
    if (this.#options.minIntervalMs === 0) {
      this.#enqueue(values);
      return;
    }
    for (const value of values) this.#latest.set(value.path, value);
    if (this.#timer === undefined) this.#deliverLatest();
  };

  /** Delivers what came since the last time, then waits an interval; nothing came, nothing is awaited. */
  #deliverLatest(): void {
    this.#timer = undefined;
    if (this.#latest.size === 0) return;
    this.#enqueue(this.#latest.values());
    this.#latest.clear();
    this.#timer = setTimeout(() => this.#deliverLatest(), this.#options.minIntervalMs);
  }

  #enqueue(values: Iterable<SignalValue>): void {
    for (const value of values) {
      if (this.#options.onChange && !this.#differs(value)) continue;
      if (this.#queue.push(value)) this.#onDrop();
    }
    if (this.#queue.size > 0) this.#wake(this);
  }

  #differs(value: SignalValue): boolean {
    const before = this.#delivered.get(value.path);
    if (before !== undefined && before.stale === value.stale && sameValue(before.value, value.value)) return false;
    this.#delivered.set(value.path, value);
    return true;
  }

  take(): readonly Uint8Array[] | undefined {
    const values = [...upTo(this.#queue, SIGNAL_BATCH)];
    if (values.length === 0) return undefined;
    this.#onSent(values.length, values.at(-1)!.timeUs);
    return [encodeSignalValues(this.#request, values, this.#queue.dropped)];
  }

  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }
}

export class CameraStream implements Stream {
  readonly #request: number;
  readonly #queue = new DropOldestQueue<Picture>(CAMERA_QUEUE);
  readonly #wake: (stream: Stream) => void;
  readonly #onDrop: () => void;

  constructor(request: number, wake: (stream: Stream) => void, onDrop: () => void) {
    this.#request = request;
    this.#wake = wake;
    this.#onDrop = onDrop;
  }

  readonly push = (picture: Picture): void => {
    if (this.#queue.push(picture)) this.#onDrop();
    this.#wake(this);
  };

  take(): readonly Uint8Array[] | undefined {
    const picture = this.#queue.shift();
    if (picture === undefined) return undefined;
    return encodePicture(this.#request, picture, picture.sequence, this.#queue.dropped);
  }
}

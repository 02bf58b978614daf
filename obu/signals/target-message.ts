/**
 * A message that the OBU sends to set something. Its other signals keep the values that they have: those last seen on
 * the bus or sent by us, else what the configuration gives, else what the database gives. Bits that no signal describes
 * are repeated as last seen, in messages without multiplexers.
 */
import { dataFrame } from '../../shared/can/frame.ts';
import { ErrorCode, KerbError } from '../../shared/errors.ts';
import type { CanBus } from '../can/bus.ts';
import { type FrameChecksum, writeChecksum } from './checksum.ts';
import { unsetRaw } from './j1939-spn.ts';
import { type MessageCodec, type MessageSignal, toRawDatum } from './message-codec.ts';
import type { SignalDatum } from './signal.ts';

/** Actuations of one message that may wait for one another. */
const MAX_WAITING = 64;

export class TargetMessage {
  readonly codec: MessageCodec;
  readonly #bus: CanBus;
  readonly #raws = new Map<string, number>();
  #last: Uint8Array | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /** @param defaults Physical values by signal, before the bus has said anything. */
  constructor(codec: MessageCodec, bus: CanBus, defaults: ReadonlyMap<string, SignalDatum>) {
    this.codec = codec;
    this.#bus = bus;
    for (const signal of codec.signals) {
      const given = defaults.get(signal.signal.name);
      this.#raws.set(
        signal.signal.name,
        given === undefined ? unsetRaw(codec.message, signal.signal) : toRawDatum(signal, given),
      );
    }
  }

  /** What a frame of this message said. */
  record(data: Uint8Array): void {
    this.#last = data;
    for (const signal of this.codec.signals) {
      if (signal.isPresent(data)) this.#raws.set(signal.signal.name, signal.rawOf(data));
    }
  }

  /** Runs one task at a time, in the order of the calls. @throws KerbError TooManyRequests, and what the task throws */
  async inTurn<T>(task: () => Promise<T>): Promise<T> {
    const { name } = this.codec.message;
    if (this.#waiting >= MAX_WAITING) {
      throw new KerbError(ErrorCode.TooManyRequests, `${MAX_WAITING} actuations wait for message ${name}, the limit`);
    }
    this.#waiting++;
    const mine = this.#turn.then(task);
    this.#turn = mine.catch(() => {}).finally(() => this.#waiting--);
    return mine;
  }

  /**
   * Sends the message with this signal changed, and returns its data. Bits of J1939 that nobody describes are ones.
   * @param id of the frame: that of the message, or with other J1939 addresses
   * @throws KerbError SignalOutOfRange, and what the bus throws
   */
  send(
    target: MessageSignal,
    value: SignalDatum,
    counter: MessageSignal | undefined,
    checksum: FrameChecksum | undefined,
    id = this.codec.message.id,
  ): Uint8Array {
    const { message, signals } = this.codec;
    const raws = new Map(this.#raws);
    raws.set(target.signal.name, toRawDatum(target, value));
    this.#select(target, raws);
    if (counter !== undefined) {
      const { name, length } = counter.signal;
      raws.set(name, (raws.get(name)! + 1) % 2 ** length);
    }
    const isPlain = signals.every(({ signal }) => !signal.isMultiplexer);
    const data = new Uint8Array(message.length).fill(message.j1939 ? 0xff : 0);
    if (isPlain && this.#last !== undefined) data.set(this.#last.subarray(0, data.length));
    this.codec.write(data, ({ signal }) => raws.get(signal.name)!);
    if (checksum !== undefined) writeChecksum(data, this.codec.signal(checksum.signal), checksum, message);
    this.#bus.send(dataFrame(id, data, { ext: message.ext, fd: message.fd }));
    this.record(data);
    return data;
  }

  /** Sets the multiplexers so that the signal is in the frame. */
  #select({ signal }: MessageSignal, raws: Map<string, number>): void {
    if (signal.mux === undefined) return;
    const { by, ranges } = signal.mux;
    const now = raws.get(by)!;
    if (!ranges.some(([low, high]) => now >= low && now <= high)) raws.set(by, ranges[0]![0]);
    this.#select(this.codec.signal(by), raws);
  }
}

/**
 * A message that the OBU sends to set something. Its other signals keep the bits that they have: those last seen on the
 * bus or sent by us, else what the configuration gives, else what the database gives. They are copied as they are, so
 * that no size and no rounding changes any of them. Where signals overlap, the bits of the one that is set win. Bits that
 * no signal describes are repeated as last seen, unless the multiplexers now select something else.
 */

import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import { type Exact, exact } from '../../shared/base/exact.ts';
import { SerialQueue } from '../../shared/base/serial-queue.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { dataFrame } from '../../shared/can/frame.ts';
import { type FrameChecksum, writeChecksum } from '../../shared/dbc/checksum.ts';
import { unsetRaw } from '../../shared/dbc/j1939-spn.ts';
import { type MessageCodec, type MessageSignal, toRawDatum } from '../../shared/dbc/message-codec.ts';
import type { SignalDatum } from '../../shared/vss/signal.ts';

/** Actuations of one message that may wait for one another. */
const MAX_WAITING = 64;

export class TargetMessage {
  readonly codec: MessageCodec;
  readonly #bus: CanBus;
  /** Of each signal, data that hold its bits. */
  readonly #known = new Map<MessageSignal, Uint8Array>();
  /** Multiplexers in front of what they select. */
  readonly #order: readonly MessageSignal[];
  /** Those that the configuration gives a value. */
  readonly #given: MessageSignal[] = [];
  #last: Uint8Array | undefined;
  readonly #tasks = new SerialQueue();

  /**
   * @param defaults Physical values by signal, before the bus has said anything. Where one does not fit (default-values.ts
   * says so), its signal begins as the database says.
   */
  constructor(codec: MessageCodec, bus: CanBus, defaults: ReadonlyMap<string, SignalDatum>) {
    this.codec = codec;
    this.#bus = bus;
    this.#order = [...codec.signals].sort((a, b) => depth(a) - depth(b));
    const starts = new Uint8Array(Math.max(codec.message.length, ...codec.signals.map(({ minLength }) => minLength)));
    for (const signal of codec.signals) {
      const { name, shortName } = signal.signal;
      const own = starts.slice();
      signal.writeRaw(own, unsetRaw(codec.message, signal.signal));
      const given = defaults.get(name) ?? defaults.get(shortName);
      if (given !== undefined) {
        try {
          signal.writeRaw(own, toRawDatum(signal, given));
          this.#given.push(signal);
        } catch (error) {
          if (!isKerbError(error, ErrorCode.SignalOutOfRange)) throw error;
        }
      }
      this.#known.set(signal, own);
    }
  }

  /** What a frame of this message said. */
  record(data: Uint8Array): void {
    this.#last = data;
    for (const signal of this.codec.signals) if (signal.isPresent(data)) this.#known.set(signal, data);
  }

  /** Runs one task at a time, in the order of the calls. @throws KerbError TooManyRequests, and what the task throws */
  async inTurn<T>(task: () => Promise<T>): Promise<T> {
    const { name } = this.codec.message;
    if (this.#tasks.size >= MAX_WAITING) {
      throw new KerbError(ErrorCode.TooManyRequests, `${MAX_WAITING} actuations wait for message ${name}, the limit`);
    }
    return this.#tasks.run(task);
  }

  /**
   * Sends the message with this signal changed, and returns its data. Bits of J1939 that nobody describes are ones.
   * @param id of the frame: that of the message, or with other J1939 addresses
   * @throws KerbError SignalOutOfRange; SignalOverlap when a frame cannot carry it; and what the bus throws
   */
  send(
    target: MessageSignal,
    value: SignalDatum,
    counter: MessageSignal | undefined,
    checksum: FrameChecksum | undefined,
    id = this.codec.message.id,
  ): Uint8Array {
    const { message } = this.codec;
    const raw = toRawDatum(target, value);
    const selectors = this.#selectorsOf(target);
    const data = this.#base(target);
    const select = () => {
      for (const { codec, bits } of selectors) codec.writeRaw(data, rawOfBits(codec, bits));
    };
    select();
    this.#writeOthers(target, data);
    // Once more, where one of the others shares bits with a multiplexer.
    select();
    let count = 0;
    if (counter !== undefined) {
      count = (Number(counter.rawOf(this.#known.get(counter)!)) + 1) % 2 ** counter.signal.length;
      counter.writeRaw(data, count);
    }
    const isWithin = target.minLength <= data.length;
    if (isWithin) target.writeRaw(data, raw);
    const bits = isWithin ? target.bitsOf(data) : undefined;
    if (checksum !== undefined) writeChecksum(data, this.codec.signal(checksum.signal), checksum, message);
    const isWhole =
      target.isPresent(data) &&
      target.bitsOf(data) === bits &&
      (counter === undefined || counter.rawOf(data) === count);
    if (!isWhole) throw overlap(target, overlapFault(target, counter, checksum && this.codec.signal(checksum.signal)));
    this.#bus.send(dataFrame(id, data, { ext: message.ext, fd: message.fd }));
    this.record(data);
    return data;
  }

  /** Of several signals of one name, the one that is in the last frame, else the first. */
  variantOf(signal: MessageSignal): MessageSignal {
    const last = this.#last;
    if (last === undefined || signal.isPresent(last)) return signal;
    return this.codec.variants(signal.signal.name).find((one) => one.isPresent(last)) ?? signal;
  }

  /** What the bits that no signal describes are. */
  #base(target: MessageSignal): Uint8Array {
    const { length, j1939 } = this.codec.message;
    const data = new Uint8Array(length).fill(j1939 ? 0xff : 0);
    const isPlain = this.codec.signals.every(({ selector }) => selector === undefined);
    const last = this.#last;
    // With the target in the last frame, the multiplexers stay as they were in it.
    if (last !== undefined && (isPlain || target.isPresent(last))) data.set(last.subarray(0, data.length));
    return data;
  }

  #writeOthers(target: MessageSignal, data: Uint8Array): void {
    const copy = (signal: MessageSignal) => {
      if (signal !== target && signal.isPresent(data)) signal.copy(this.#known.get(signal)!, data);
    };
    for (const signal of this.#order) copy(signal);
    // Of signals that share bits, the one that the configuration gives says more than a start value.
    if (this.#last === undefined) for (const signal of this.#given) copy(signal);
  }

  /** The multiplexers that the signal depends on, the outermost first, and their bits with which it is in the frame. */
  #selectorsOf(target: MessageSignal): { readonly codec: MessageSignal; readonly bits: Exact }[] {
    const chain: { codec: MessageSignal; bits: Exact }[] = [];
    for (let signal = target; signal.selector !== undefined; signal = signal.selector) {
      const { selector } = signal;
      const { ranges } = signal.signal.mux!;
      const now = selector.bitsOf(this.#known.get(selector)!);
      const isSelected = ranges.some(([low, high]) => now >= low && now <= high);
      chain.unshift({ codec: selector, bits: isSelected ? now : ranges[0]![0] });
    }
    return chain;
  }
}

/**
 * Why no frame can carry a value of this signal: it shares bits with what the frame needs to be right. Undefined when it
 * does not.
 */
export function overlapFault(
  target: MessageSignal,
  counter: MessageSignal | undefined,
  checksum: MessageSignal | undefined,
): string | undefined {
  const name = (signal: MessageSignal) => signal.signal.name;
  if (counter !== undefined && target.overlaps(counter)) return `it shares bits with the counter ${name(counter)}`;
  if (checksum !== undefined && target.overlaps(checksum)) return `it shares bits with the checksum ${name(checksum)}`;
  for (let { selector } = target; selector !== undefined; { selector } = selector) {
    if (target.overlaps(selector)) return `it shares bits with its multiplexer ${name(selector)}`;
  }
  return undefined;
}

export function overlap(target: MessageSignal, why = 'its message has no room for it'): KerbError {
  const { name } = target.signal;
  return new KerbError(ErrorCode.SignalOverlap, `signal ${name} cannot be set: ${why}`, { signal: name });
}

/** What `writeRaw` takes for bits. */
function rawOfBits({ signal: { signed, length } }: MessageSignal, bits: Exact): Exact {
  return signed ? exact(BigInt.asIntN(length, BigInt(bits))) : bits;
}

function depth({ selector }: MessageSignal): number {
  return selector === undefined ? 0 : 1 + depth(selector);
}

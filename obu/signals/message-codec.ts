/**
 * One message of a DBC, decoded and encoded as a whole. Hot path: `isPresent` of a signal, one or two integer reads.
 */
import { ErrorCode, KerbError } from '../../shared/errors.ts';
import type { DbcMessage, DbcSignal } from './dbc.ts';
import type { SignalDatum } from './signal.ts';
import { compileSignal, type SignalCodec } from './signal-codec.ts';

export interface MessageSignal extends SignalCodec {
  /** Whether a frame with this data has the signal: it is long enough and the multiplexers select it. */
  isPresent(data: Uint8Array): boolean;
}

export interface MessageCodec {
  readonly message: DbcMessage;
  readonly signals: readonly MessageSignal[];
  /** @throws KerbError UnknownSignal */
  signal(name: string): MessageSignal;
  /** Physical values of the signals that are in this frame. */
  decode(data: Uint8Array): Map<string, number>;
  /**
   * The data of a frame, `message.length` bytes. Numbers are physical values and are rounded to the nearest step, text
   * is the name of a value, booleans are 1 and 0. Signals that are not given, multiplexers too, have their start value;
   * those that the multiplexers do not select are left out.
   * @throws KerbError UnknownSignal for a name that the message has not, or not with these multiplexer values;
   * SignalOutOfRange
   */
  encode(values: Readonly<Record<string, SignalDatum>>): Uint8Array;
  /**
   * Writes raw values into data of `message.length` bytes: of each signal that the multiplexers select, what `rawOf`
   * gives for it. Bits that belong to none of them stay as they are.
   * @throws KerbError SignalOutOfRange when the bits cannot hold a value
   */
  write(data: Uint8Array, rawOf: (signal: MessageSignal) => number): void;
}

type Test = (data: Uint8Array) => boolean;

export function compileMessage(message: DbcMessage): MessageCodec {
  const codecs = new Map(message.signals.map((signal) => [signal.name, compileSignal(signal)]));
  const signals = message.signals.map((signal): MessageSignal => {
    const codec = codecs.get(signal.name)!;
    return { ...codec, isPresent: presence(codec, codecs) };
  });
  // Multiplexers in front of what they select, so that encoding can ask them.
  const order = [...signals].sort((a, b) => depth(a.signal, codecs) - depth(b.signal, codecs));
  const byName = new Map(signals.map((signal) => [signal.signal.name, signal]));
  const unknown = (name: string, why: string) =>
    new KerbError(ErrorCode.UnknownSignal, `message ${message.name} has no signal ${name}${why}`, {
      message: message.name,
      signal: name,
    });
  return {
    message,
    signals,
    signal(name) {
      const found = byName.get(name);
      if (found === undefined) throw unknown(name, '');
      return found;
    },
    decode(data) {
      const values = new Map<string, number>();
      for (const signal of signals) {
        if (signal.isPresent(data)) values.set(signal.signal.name, signal.physicalOf(data));
      }
      return values;
    },
    encode(values) {
      for (const name of Object.keys(values)) if (!byName.has(name)) throw unknown(name, '');
      const data = new Uint8Array(message.length);
      for (const codec of order) {
        const { name } = codec.signal;
        const given = Object.hasOwn(values, name) ? values[name] : undefined;
        if (codec.isPresent(data)) {
          codec.writeRaw(data, given === undefined ? codec.signal.startRaw : toRawDatum(codec, given));
        } else if (given !== undefined) {
          throw unknown(name, ` with ${codec.signal.mux?.by} as it is`);
        }
      }
      return data;
    },
    write(data, rawOf) {
      for (const codec of order) if (codec.isPresent(data)) codec.writeRaw(data, rawOf(codec));
    },
  };
}

function presence(codec: SignalCodec, codecs: ReadonlyMap<string, SignalCodec>): Test {
  const { minLength } = codec;
  const { mux } = codec.signal;
  if (mux === undefined) return (data) => data.length >= minLength;
  const by = codecs.get(mux.by)!;
  const selected = presence(by, codecs);
  const { ranges } = mux;
  return (data) => {
    if (data.length < minLength || !selected(data)) return false;
    const value = by.rawOf(data);
    for (const [low, high] of ranges) if (value >= low && value <= high) return true;
    return false;
  };
}

function depth(signal: DbcSignal, codecs: ReadonlyMap<string, SignalCodec>): number {
  return signal.mux === undefined ? 0 : 1 + depth(codecs.get(signal.mux.by)!.signal, codecs);
}

/**
 * The raw value of a physical one, of the name of a value, or of a boolean.
 * @throws KerbError SignalOutOfRange
 */
export function toRawDatum(codec: SignalCodec, given: SignalDatum): number {
  const { signal } = codec;
  if (typeof given === 'number') return codec.toRaw(given);
  if (typeof given === 'boolean') return codec.toRaw(given ? 1 : 0);
  for (const [raw, label] of signal.labels) if (label === given) return raw;
  throw new KerbError(
    ErrorCode.SignalOutOfRange,
    `signal ${signal.name} has no value named "${given}"${signal.labels.size === 0 ? '' : `; it has ${[...signal.labels.values()].slice(0, 10).join(', ')}`}`,
    { signal: signal.name },
  );
}

/**
 * One message of a DBC, decoded and encoded as a whole. Hot path: `isPresent` of a signal, one or two integer reads.
 */
import { ErrorCode, KerbError } from '../base/errors.ts';
import type { Exact, SignalDatum } from '../base/exact.ts';
import type { DbcMessage } from './dbc.ts';
import { compileSignal, type SignalCodec } from './signal-codec.ts';

export interface MessageSignal extends SignalCodec {
  /** Whether a frame with this data has the signal: it is long enough and the multiplexers select it. */
  isPresent(data: Uint8Array): boolean;
  /** Its multiplexer, if it has one. */
  readonly selector: MessageSignal | undefined;
}

export interface MessageCodec {
  readonly message: DbcMessage;
  readonly signals: readonly MessageSignal[];
  /**
   * The signal of this name, long or short; the first one where several groups of a multiplexer have one.
   * @throws KerbError UnknownSignal
   */
  signal(name: string): MessageSignal;
  /** All signals of this name: several where groups that exclude each other have one each. */
  variants(name: string): readonly MessageSignal[];
  /** Physical values of the signals that are in this frame. */
  decode(data: Uint8Array): Map<string, Exact>;
  /**
   * The data of a frame, `message.length` bytes. Numbers are physical values and are rounded to the nearest step, text
   * is the name of a value, booleans are 1 and 0. Signals that are not given, multiplexers too, have their start value;
   * those that the multiplexers do not select are left out. Where signals overlap, those that are given win.
   * @throws KerbError UnknownSignal for a name that the message has not, or not with these multiplexer values;
   * SignalOutOfRange
   */
  encode(values: Readonly<Record<string, SignalDatum>>): Uint8Array;
}

export function compileMessage(message: DbcMessage): MessageCodec {
  const signals = compileSignals(message);
  // Multiplexers in front of what they select, so that encoding can ask them.
  const order = [...signals].sort((a, b) => depth(a) - depth(b));
  const byName = new Map<string, MessageSignal[]>();
  for (const codec of signals) {
    for (const name of new Set([codec.signal.name, codec.signal.shortName])) {
      const others = byName.get(name);
      if (others === undefined) byName.set(name, [codec]);
      else others.push(codec);
    }
  }
  const unknown = (name: string, why: string) =>
    new KerbError(ErrorCode.UnknownSignal, `message ${message.name} has no signal ${name}${why}`, {
      message: message.name,
      signal: name,
    });
  return {
    message,
    signals,
    signal(name) {
      const found = byName.get(name)?.[0];
      if (found === undefined) throw unknown(name, '');
      return found;
    },
    variants: (name) => byName.get(name) ?? [],
    decode(data) {
      const values = new Map<string, Exact>();
      for (const signal of signals) {
        if (signal.isPresent(data)) values.set(signal.signal.name, signal.physicalOf(data));
      }
      return values;
    },
    encode(values) {
      const given = new Map<MessageSignal, SignalDatum>();
      for (const [name, value] of Object.entries(values)) {
        if (!byName.has(name)) throw unknown(name, '');
        for (const codec of byName.get(name)!) given.set(codec, value);
      }
      const data = new Uint8Array(message.length);
      const write = (codec: MessageSignal) => {
        const value = given.get(codec);
        if (codec.isPresent(data)) {
          codec.writeRaw(data, value === undefined ? codec.signal.startRaw : toRawDatum(codec, value));
        }
      };
      for (const codec of order) write(codec);
      for (const codec of order) if (given.has(codec)) write(codec);
      for (const name of Object.keys(values)) {
        const found = byName.get(name)!;
        if (!found.some((codec) => codec.isPresent(data))) {
          const mux = found[0]!.signal.mux?.by;
          throw unknown(name, mux === undefined ? ' within its length' : ` with ${mux} as it is`);
        }
      }
      return data;
    },
  };
}

function compileSignals(message: DbcMessage): readonly MessageSignal[] {
  const plain = message.signals.map(compileSignal);
  const made = new Map<SignalCodec, MessageSignal>();
  const make = (codec: SignalCodec): MessageSignal => {
    const known = made.get(codec);
    if (known !== undefined) return known;
    const { mux } = codec.signal;
    // Several where groups that exclude each other have a multiplexer of this name each.
    const by = plain.filter(({ signal }) => mux && (signal.shortName === mux.by || signal.name === mux.by));
    const selectors = by.map(make);
    const signal: MessageSignal = { ...codec, selector: selectors[0], isPresent: presence(codec, selectors) };
    made.set(codec, signal);
    return signal;
  };
  return plain.map(make);
}

function presence(codec: SignalCodec, selectors: readonly MessageSignal[]): MessageSignal['isPresent'] {
  const { minLength } = codec;
  const [selector, second] = selectors;
  if (selector === undefined) return (data) => data.length >= minLength;
  if (second !== undefined) {
    const each = selectors.map((one) => presence(codec, [one]));
    return (data) => each.some((isPresent) => isPresent(data));
  }
  const { isPresent, bitsOf } = selector;
  const { ranges } = codec.signal.mux!;
  return (data) => {
    if (data.length < minLength || !isPresent(data)) return false;
    const value = bitsOf(data);
    for (const [low, high] of ranges) if (value >= low && value <= high) return true;
    return false;
  };
}

function depth({ selector }: MessageSignal): number {
  return selector === undefined ? 0 : 1 + depth(selector);
}

/**
 * The raw value of a physical one, of the name of a value, or of a boolean.
 * @throws KerbError SignalOutOfRange
 */
export function toRawDatum(codec: SignalCodec, given: SignalDatum): Exact {
  const { signal } = codec;
  if (typeof given === 'number' || typeof given === 'bigint') return codec.toRaw(given);
  if (typeof given === 'boolean') return codec.toRaw(given ? 1 : 0);
  for (const [raw, label] of signal.labels) if (label === given) return raw;
  throw new KerbError(
    ErrorCode.SignalOutOfRange,
    `signal ${signal.name} has no value named "${given}"${signal.labels.size === 0 ? '' : `; it has ${[...signal.labels.values()].slice(0, 10).join(', ')}`}`,
    { signal: signal.name },
  );
}

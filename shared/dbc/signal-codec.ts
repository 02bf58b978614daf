/**
 * One signal's bits, out of a frame and into one. Hot path: `rawOf` and `physicalOf`, whose readers are chosen once.
 *
 * Integers are exact (see exact.ts): signals of up to 53 bits never touch a bigint, longer ones give a bigint for values
 * that no double holds, and so does an integer factor that carries a value there.
 */
import { ErrorCode, KerbError } from '../base/errors.ts';
import { type Exact, exact } from '../base/exact.ts';
import {
  CHUNK,
  chunksOf,
  copyBits,
  type ReadBits,
  type Segment,
  shareBits,
  unsignedReader,
  writeBits,
} from './bit-segments.ts';
import type { DbcSignal } from './dbc.ts';

/** Bits of which a double holds every integer. */
const EXACT_BITS = 53;
const TWO_32 = 2 ** 32;

export interface SignalCodec {
  readonly signal: DbcSignal;
  /** Bytes that a frame must have for this signal to be in it. */
  readonly minLength: number;
  /** The raw value; for a float signal the float itself. The frame has at least `minLength` bytes. */
  rawOf(data: Uint8Array): Exact;
  /** The bits as an unsigned integer, whatever they mean. */
  bitsOf(data: Uint8Array): Exact;
  /** raw * factor + offset. */
  physicalOf(data: Uint8Array): Exact;
  /** The nearest raw value. @throws KerbError SignalOutOfRange */
  toRaw(physical: Exact): Exact;
  /** Sets the signal's bits and no others. @throws KerbError SignalOutOfRange when the bits cannot hold it */
  writeRaw(data: Uint8Array, raw: Exact): void;
  /** Takes the signal's bits over from another frame, as they are. Both have at least `minLength` bytes. */
  copy(from: Uint8Array, to: Uint8Array): void;
  /** Whether both have a bit in common. */
  overlaps(other: SignalCodec): boolean;
  /** For `overlaps`. */
  readonly segments: readonly Segment[];
}

export function compileSignal(signal: DbcSignal): SignalCodec {
  const chunks = chunksOf(signal);
  const segments = chunks.flat();
  const minLength = Math.max(...segments.map((segment) => segment.byte)) + 1;
  const bitsOf = integerReader({ length: signal.length, signed: false }, chunks);
  const rawOf = signal.float === 'none' ? integerReader(signal, chunks) : floatReader(signal, chunks);
  return {
    signal,
    minLength,
    segments,
    bitsOf,
    rawOf,
    physicalOf: physicalReader(signal, rawOf),
    toRaw: (physical) => toRaw(signal, physical),
    writeRaw: (data, raw) => {
      const values = split(signal, raw);
      for (const [i, chunk] of chunks.entries()) writeBits(data, chunk, values[i]!);
    },
    copy: (from, to) => copyBits(from, to, segments),
    overlaps: (other) => shareBits(segments, other.segments),
  };
}

type ReadExact = (data: Uint8Array) => Exact;

function signedChunk(read: ReadBits, length: number): ReadBits {
  const half = 2 ** (length - 1);
  const full = 2 ** length;
  return (data) => {
    const raw = read(data);
    return raw >= half ? raw - full : raw;
  };
}

function integerReader(
  { length, signed }: Pick<DbcSignal, 'length' | 'signed'>,
  chunks: readonly (readonly Segment[])[],
): ReadExact {
  const low = unsignedReader(chunks[0]);
  if (length <= CHUNK) return signed ? signedChunk(low, length) : low;
  if (length > 2 * CHUNK) return longReader(length, signed, chunks.map(unsignedReader));
  const high = unsignedReader(chunks[1]);
  const top = signed ? signedChunk(high, length - CHUNK) : high;
  if (length <= EXACT_BITS) return (data) => top(data) * TWO_32 + low(data);
  return (data) => {
    const upper = top(data);
    const value = upper * TWO_32 + low(data);
    return Number.isSafeInteger(value) ? value : (BigInt(upper) << 32n) + BigInt(low(data));
  };
}

/** More than 64 bits, which CAN FD has room for. */
function longReader(length: number, signed: boolean, chunks: readonly ReadBits[]): ReadExact {
  return (data) => {
    let value = 0n;
    for (const [i, read] of chunks.entries()) value += BigInt(read(data)) << BigInt(i * CHUNK);
    return exact(signed ? BigInt.asIntN(length, value) : value);
  };
}

/** Half floats are newer than the types of this language level. */
const scratch = new DataView(new ArrayBuffer(8)) as DataView & {
  getFloat16(at: number): number;
  setFloat16(at: number, value: number): void;
};

function floatReader({ float }: DbcSignal, chunks: readonly (readonly Segment[])[]): ReadExact {
  const [low, high] = [unsignedReader(chunks[0]), unsignedReader(chunks[1])];
  if (float === 'half') {
    return (data) => {
      scratch.setUint16(0, low(data));
      return scratch.getFloat16(0);
    };
  }
  if (float === 'single') {
    return (data) => {
      scratch.setUint32(0, low(data));
      return scratch.getFloat32(0);
    };
  }
  return (data) => {
    scratch.setUint32(0, high(data));
    scratch.setUint32(4, low(data));
    return scratch.getFloat64(0);
  };
}

function physicalReader(signal: DbcSignal, rawOf: ReadExact): ReadExact {
  const { length, factor, offset } = signal;
  if (factor === 1 && offset === 0) return rawOf;
  if (signal.float !== 'none' || length <= EXACT_BITS) {
    const plain = rawOf as ReadBits;
    const largest = 2 ** length * Math.abs(factor) + Math.abs(offset);
    if (!hasIntegerScale(signal) || largest <= Number.MAX_SAFE_INTEGER) {
      return (data) => plain(data) * factor + offset;
    }
  }
  if (!hasIntegerScale(signal)) return (data) => Number(rawOf(data)) * factor + offset;
  const [exactFactor, exactOffset] = [BigInt(factor), BigInt(offset)];
  return (data) => {
    const raw = rawOf(data);
    if (typeof raw === 'number') {
      const product = raw * factor;
      if (Number.isSafeInteger(product) && Number.isSafeInteger(product + offset)) return product + offset;
    }
    return exact(BigInt(raw) * exactFactor + exactOffset);
  };
}

/** Every value is an integer. */
function hasIntegerScale({ float, factor, offset }: DbcSignal): boolean {
  return float === 'none' && Number.isInteger(factor) && Number.isInteger(offset);
}

/** The signal's bits as unsigned chunks of 32 bits, the least significant one first. */
function split(signal: DbcSignal, raw: Exact): readonly number[] {
  if (signal.float !== 'none') return splitFloat(signal, Number(raw));
  const { length } = signal;
  fitting(signal, raw, raw);
  if (length <= EXACT_BITS) {
    const upper = Math.floor(Number(raw) / TWO_32);
    return [Number(raw) - upper * TWO_32, upper >>> 0];
  }
  const bits = BigInt.asUintN(length, BigInt(raw));
  const count = Math.ceil(length / CHUNK);
  return Array.from({ length: count }, (_, i) => Number((bits >> BigInt(i * CHUNK)) & 0xffffffffn));
}

function splitFloat({ float }: DbcSignal, value: number): readonly number[] {
  if (float === 'half') {
    scratch.setFloat16(0, value);
    return [scratch.getUint16(0)];
  }
  if (float === 'single') {
    scratch.setFloat32(0, value);
    return [scratch.getUint32(0)];
  }
  scratch.setFloat64(0, value);
  return [scratch.getUint32(4), scratch.getUint32(0)];
}

/** Largest value of a float of these bits. */
export const largestFloat = { half: 65504, single: (2 - 2 ** -23) * 2 ** 127, double: Number.MAX_VALUE } as const;

function toRaw(signal: DbcSignal, physical: Exact): Exact {
  const { factor, offset, min, max, float } = signal;
  if (typeof physical === 'number' && !Number.isFinite(physical)) {
    throw outOfRange(signal, `${physical}`, 'it is not a finite number');
  }
  if (factor === 0) throw outOfRange(signal, `${physical}`, 'its factor in the database is 0');
  const { low, high } = rangeOf(signal);
  if (physical < low || physical > high) {
    const unit = signal.unit === '' ? '' : ` ${signal.unit}`;
    throw outOfRange(signal, `${physical}`, `it goes from ${min} to ${max}${unit}`);
  }
  if (hasIntegerScale(signal) && isLarge(physical, offset)) {
    return fitting(signal, physical, exact(nearest(BigInt(physical) - BigInt(offset), BigInt(factor))));
  }
  const raw = (Number(physical) - offset) / factor;
  if (float !== 'none') {
    if (Math.abs(raw) <= largestFloat[float]) return raw;
    throw outOfRange(signal, `${physical}`, `a ${float} float ends at ${largestFloat[float]}`);
  }
  const rounded = Math.round(raw);
  // Adding zero turns -0 into 0.
  return fitting(signal, physical, Number.isSafeInteger(rounded) ? rounded + 0 : inOneForm(rounded));
}

/** The physical values that the database allows, with what rounding may add to a value that was decoded from a frame. */
export function rangeOf({ min, max, float, factor }: DbcSignal): { readonly low: number; readonly high: number } {
  if (min === 0 && max === 0) return { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
  // Half a step; of a limit beyond 2^53, what it may have lost when it was read.
  const slack = (limit: number) => (float === 'none' ? Math.max(Math.abs(factor) / 2, Math.abs(limit) * 2 ** -52) : 0);
  return { low: min - slack(min), high: max + slack(max) };
}

function inOneForm(rounded: number): Exact {
  return Number.isFinite(rounded) ? exact(BigInt(rounded)) : rounded;
}

/** @throws KerbError SignalOutOfRange that names the physical value */
function fitting(signal: DbcSignal, physical: Exact, raw: Exact): Exact {
  if (holds(signal, raw)) return raw;
  throw outOfRange(signal, `${physical}`, `the raw value has ${signal.length} ${signal.signed ? 'signed ' : ''}bits`);
}

/** Whether the bits hold it. Powers of two are exact, and numbers compare with bigints by their value. */
function holds({ length, signed }: DbcSignal, raw: Exact): boolean {
  if (typeof raw === 'number' && !Number.isInteger(raw)) return false;
  return signed ? raw >= -(2 ** (length - 1)) && raw < 2 ** (length - 1) : raw >= 0 && raw < 2 ** length;
}

/** An integer of which doubles would lose digits on the way. */
function isLarge(physical: Exact, offset: number): boolean {
  if (typeof physical === 'bigint') return true;
  return Number.isInteger(physical) && !(Number.isSafeInteger(physical) && Number.isSafeInteger(physical - offset));
}

/** The nearest integer to a quotient; halves go up, as Math.round has it. */
function nearest(dividend: bigint, divisor: bigint): bigint {
  const [above, below] = divisor < 0n ? [-dividend, -divisor] : [dividend, divisor];
  const doubled = 2n * above + below;
  const quotient = doubled / (2n * below);
  // Division of bigints cuts towards zero; this wants the floor.
  return doubled % (2n * below) < 0n ? quotient - 1n : quotient;
}

function outOfRange(signal: DbcSignal, value: string, range: string): KerbError {
  return new KerbError(ErrorCode.SignalOutOfRange, `signal ${signal.name} cannot be ${value}: ${range}`, {
    signal: signal.name,
  });
}

/**
 * One signal's bits, out of a frame and into one. Hot path (`rawOf`, `physicalOf`): where the bits are is worked out
 * once, into a few (byte, shift, mask, scale) segments that are summed; nothing is allocated and no bit is looped over.
 *
 * Raw values are numbers. Up to 53 bits they are exact; of 64-bit integers above 2^53 the lowest bits are rounded, as a
 * double does.
 */
import { ErrorCode, KerbError } from '../../shared/errors.ts';
import type { DbcSignal } from './dbc.ts';

interface Segment {
  readonly byte: number;
  readonly shift: number;
  readonly mask: number;
  /** Weight of the segment's lowest bit in the value. */
  readonly scale: number;
}

type Read = (data: Uint8Array) => number;

export interface SignalCodec {
  readonly signal: DbcSignal;
  /** Bytes that a frame must have for this signal to be in it. */
  readonly minLength: number;
  /** The raw value; for a float signal the float itself. The frame has at least `minLength` bytes. */
  rawOf(data: Uint8Array): number;
  /** raw * factor + offset. */
  physicalOf(data: Uint8Array): number;
  /** The nearest raw value. @throws KerbError SignalOutOfRange */
  toRaw(physical: number): number;
  /** Sets the signal's bits and no others. @throws KerbError SignalOutOfRange when the bits cannot hold it */
  writeRaw(data: Uint8Array, raw: number): void;
}

/** Where bit `k` of the value (0 is the least significant) lies: byte and bit within it. */
function positionOf(signal: DbcSignal, k: number): { byte: number; bit: number } {
  if (!signal.bigEndian) {
    const at = signal.startBit + k;
    return { byte: at >> 3, bit: at & 7 };
  }
  // Counted from the most significant bit on: down within the byte, then on with the top of the next byte.
  const first = (signal.startBit >> 3) * 8 + 7 - (signal.startBit & 7);
  const at = first + signal.length - 1 - k;
  return { byte: at >> 3, bit: 7 - (at & 7) };
}

/** The segments of bits `from` to `to` of the value (exclusive); the lowest bit of them weighs 1. */
function segmentsOf(signal: DbcSignal, from: number, to: number): Segment[] {
  const segments: Segment[] = [];
  let k = from;
  while (k < to) {
    const { byte, bit } = positionOf(signal, k);
    let width = 1;
    // In both byte orders, more significant bits of the value lie higher within a byte.
    while (k + width < to && positionOf(signal, k + width).byte === byte) width++;
    segments.push({ byte, shift: bit, mask: 2 ** width - 1, scale: 2 ** (k - from) });
    k += width;
  }
  return segments;
}

/** Reads up to 32 bits as an unsigned number. */
function unsignedReader(segments: readonly Segment[]): Read {
  const [first, second] = segments;
  if (first === undefined) return () => 0;
  if (second === undefined) {
    const { byte, shift, mask } = first;
    return (data) => (data[byte]! >>> shift) & mask;
  }
  if (segments.length === 2) {
    const { byte: b0, shift: s0, mask: m0 } = first;
    const { byte: b1, shift: s1, mask: m1, scale } = second;
    return (data) => ((data[b0]! >>> s0) & m0) + ((data[b1]! >>> s1) & m1) * scale;
  }
  return (data) => {
    let value = 0;
    for (const { byte, shift, mask, scale } of segments) value += ((data[byte]! >>> shift) & mask) * scale;
    return value;
  };
}

function signed(read: Read, length: number): Read {
  const half = 2 ** (length - 1);
  const full = 2 ** length;
  return (data) => {
    const raw = read(data);
    return raw >= half ? raw - full : raw;
  };
}

function writeBits(data: Uint8Array, segments: readonly Segment[], value: number): void {
  for (const { byte, shift, mask, scale } of segments) {
    data[byte] = (data[byte]! & ~(mask << shift)) | ((Math.floor(value / scale) & mask) << shift);
  }
}

const scratch = new DataView(new ArrayBuffer(8));
const TWO_32 = 2 ** 32;

export function compileSignal(signal: DbcSignal): SignalCodec {
  const { length, factor, offset } = signal;
  const low = segmentsOf(signal, 0, Math.min(length, 32));
  const high = segmentsOf(signal, 32, length);
  const minLength = Math.max(...[...low, ...high].map((segment) => segment.byte)) + 1;
  const rawOf = rawReader(signal, unsignedReader(low), unsignedReader(high));
  const physicalOf: Read = factor === 1 && offset === 0 ? rawOf : (data) => rawOf(data) * factor + offset;
  return {
    signal,
    minLength,
    rawOf,
    physicalOf,
    toRaw: (physical) => toRaw(signal, physical),
    writeRaw: (data, raw) => {
      const [lowBits, highBits] = split(signal, raw);
      writeBits(data, low, lowBits);
      writeBits(data, high, highBits);
    },
  };
}

function rawReader(signal: DbcSignal, low: Read, high: Read): Read {
  const { length } = signal;
  if (signal.float === 'single') {
    return (data) => {
      scratch.setUint32(0, low(data));
      return scratch.getFloat32(0);
    };
  }
  if (signal.float === 'double') {
    return (data) => {
      scratch.setUint32(0, high(data));
      scratch.setUint32(4, low(data));
      return scratch.getFloat64(0);
    };
  }
  if (length <= 32) return signal.signed ? signed(low, length) : low;
  const top = signal.signed ? signed(high, length - 32) : high;
  return (data) => top(data) * TWO_32 + low(data);
}

/** The lowest 32 bits of the raw value and the others, both unsigned. */
function split(signal: DbcSignal, raw: number): readonly [number, number] {
  if (signal.float === 'single') {
    scratch.setFloat32(0, raw);
    return [scratch.getUint32(0), 0];
  }
  if (signal.float === 'double') {
    scratch.setFloat64(0, raw);
    return [scratch.getUint32(4), scratch.getUint32(0)];
  }
  const { length } = signal;
  const least = signal.signed ? -(2 ** (length - 1)) : 0;
  const above = signal.signed ? 2 ** (length - 1) : 2 ** length;
  if (!Number.isInteger(raw) || raw < least || raw >= above) {
    throw outOfRange(signal, `${raw}`, `the raw value has ${length} ${signal.signed ? 'signed ' : ''}bits`);
  }
  const upper = Math.floor(raw / TWO_32);
  return [raw - upper * TWO_32, upper >>> 0];
}

function toRaw(signal: DbcSignal, physical: number): number {
  const { factor, offset, min, max } = signal;
  if (Number.isNaN(physical)) throw outOfRange(signal, 'NaN', 'it is no number');
  // Half a step is what rounding may add to a value that was decoded from a valid frame.
  const slack = signal.float === 'none' ? Math.abs(factor) / 2 : 0;
  if ((min !== 0 || max !== 0) && (physical < min - slack || physical > max + slack)) {
    throw outOfRange(
      signal,
      `${physical}`,
      `it goes from ${min} to ${max}${signal.unit === '' ? '' : ` ${signal.unit}`}`,
    );
  }
  const exact = (physical - offset) / factor;
  // Adding zero turns -0 into 0.
  return signal.float === 'none' ? Math.round(exact) + 0 : exact;
}

function outOfRange(signal: DbcSignal, value: string, range: string): KerbError {
  return new KerbError(ErrorCode.SignalOutOfRange, `signal ${signal.name} cannot be ${value}: ${range}`, {
    signal: signal.name,
  });
}

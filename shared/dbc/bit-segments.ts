/**
 * Where the bits of a signal are: a few (byte, shift, mask, scale) segments, worked out once. Hot path: the readers that
 * are made here are a sum over one or two segments; nothing is allocated and no bit is looped over.
 */
import type { DbcSignal } from './dbc.ts';

/** Bits of a signal that are read as one number. */
export const CHUNK = 32;

export interface Segment {
  readonly byte: number;
  readonly shift: number;
  readonly mask: number;
  /** Weight of the segment's lowest bit in its chunk. */
  readonly scale: number;
}

export type ReadBits = (data: Uint8Array) => number;

type Layout = Pick<DbcSignal, 'startBit' | 'length' | 'bigEndian'>;

/** Segments of the signal's bits, 32 bits in a chunk, the least significant chunk first. */
export function chunksOf(signal: Layout): readonly (readonly Segment[])[] {
  const chunks: Segment[][] = [];
  for (let from = 0; from < signal.length; from += CHUNK) {
    chunks.push(segmentsOf(signal, from, Math.min(signal.length, from + CHUNK)));
  }
  return chunks;
}

/** Where bit `k` of the value (0 is the least significant) lies: byte and bit within it. */
function positionOf(signal: Layout, k: number): { byte: number; bit: number } {
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
function segmentsOf(signal: Layout, from: number, to: number): Segment[] {
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

/** Reads one chunk as an unsigned number. */
export function unsignedReader(segments: readonly Segment[] = []): ReadBits {
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

/** Writes one chunk, at most 32 bits as an unsigned number. */
export function writeBits(data: Uint8Array, segments: readonly Segment[], value: number): void {
  for (const { byte, shift, mask, scale } of segments) {
    data[byte] = (data[byte]! & ~(mask << shift)) | ((Math.floor(value / scale) & mask) << shift);
  }
}

/** Takes the bits of these segments over as they are. */
export function copyBits(from: Uint8Array, to: Uint8Array, segments: readonly Segment[]): void {
  for (const { byte, shift, mask } of segments) {
    const bits = mask << shift;
    to[byte] = (to[byte]! & ~bits) | (from[byte]! & bits);
  }
}

/** Whether both have a bit in common. */
export function shareBits(a: readonly Segment[], b: readonly Segment[]): boolean {
  return a.some((one) =>
    b.some((other) => one.byte === other.byte && ((one.mask << one.shift) & (other.mask << other.shift)) !== 0),
  );
}

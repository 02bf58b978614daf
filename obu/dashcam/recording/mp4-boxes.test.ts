import { describe, expect, it } from 'vitest';
import { Mp4Cutter, wholeLength } from './mp4-boxes.ts';

function box(type: string, payload = 4): Buffer {
  const bytes = Buffer.alloc(8 + payload, type);
  bytes.writeUInt32BE(bytes.length, 0);
  bytes.write(type, 4, 'latin1');
  return bytes;
}
function largeBox(type: string, payload: number): Buffer {
  const bytes = Buffer.alloc(16 + payload, type);
  bytes.writeUInt32BE(1, 0);
  bytes.write(type, 4, 'latin1');
  bytes.writeBigUInt64BE(BigInt(bytes.length), 8);
  return bytes;
}

const head = Buffer.concat([box('ftyp'), box('moov', 40)]);
const first = Buffer.concat([box('styp'), box('moof', 20), box('mdat', 300)]);
const second = Buffer.concat([box('moof', 20), largeBox('mdat', 100)]);

function cut(chunks: readonly Buffer[]) {
  const seen = { heads: [] as Buffer[], fragments: [] as Buffer[] };
  const cutter = new Mp4Cutter(
    (bytes) => seen.heads.push(Buffer.from(bytes)),
    (bytes) => seen.fragments.push(Buffer.from(bytes)),
  );
  for (const chunk of chunks) cutter.push(chunk);
  return seen;
}

describe('a fragmented MP4', () => {
  const whole = Buffer.concat([head, first, box('sidx'), second, box('mfra')]);

  it.each([1, 7, 16, 1000])('is cut into its head and its fragments, in chunks of %i', (size) => {
    const chunks = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) =>
      whole.subarray(i * size, (i + 1) * size),
    );
    expect(cut(chunks)).toEqual({ heads: [head], fragments: [first, second] });
  });

  it.each([
    ['a size below its header', Buffer.from('00000004moov')],
    ['no letters', Buffer.concat([Buffer.from([0, 0, 0, 16, 0, 1, 2, 3]), Buffer.alloc(8)])],
    ['a size beyond everything', largeBox('mdat', 8).fill(0x7f, 8, 12)],
  ])('is refused with %s', (_what, bytes) => {
    if (bytes.toString('latin1', 0, 8) === '00000004') bytes.writeUInt32BE(4, 0);
    expect(() => cut([bytes])).toThrow(/not a valid fragmented MP4/);
  });

  it('is whole up to its last whole fragment, wherever it was cut off', () => {
    const bytes = Buffer.concat([head, first, second]);
    for (let size = 0; size <= bytes.length; size++) {
      const read = (offset: number, length: number) => bytes.subarray(offset, Math.min(size, offset + length));
      const expected =
        size === bytes.length ? size : size >= head.length + first.length ? head.length + first.length : 0;
      expect(wholeLength(read, size)).toBe(expected);
    }
  });

  it('is whole up to the zeros that a power cut left', () => {
    const bytes = Buffer.concat([head, first, Buffer.alloc(500)]);
    expect(wholeLength((at, length) => bytes.subarray(at, at + length), bytes.length)).toBe(head.length + first.length);
  });
});

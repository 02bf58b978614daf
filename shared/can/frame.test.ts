import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import {
  dataFrame,
  fdLengthFor,
  flagsOf,
  isFrameLength,
  linuxIdOf,
  makeFrame,
  remoteFrame,
  sameFrame,
} from './frame.ts';
import { wireBits } from './wire-bits.ts';

const badFrame = expect.objectContaining({ code: ErrorCode.BadCanFrame });

describe('frames', () => {
  it('takes an id above 7FF as extended', () => {
    expect(dataFrame(0x7ff, []).ext).toBe(false);
    expect(dataFrame(0x800, []).ext).toBe(true);
    expect(dataFrame(0x123, [], { ext: true }).ext).toBe(true);
  });

  it('knows the lengths of CAN FD', () => {
    const valid = Array.from({ length: 80 }, (_, n) => n).filter((n) => isFrameLength(n, true));
    expect(valid).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64]);
    expect([0, 8, 9, 33, 64, 65].map(fdLengthFor)).toEqual([0, 8, 12, 48, 64, undefined]);
  });

  it('turns flags into a number and back, for every valid combination', () => {
    for (const flags of [0, 1, 2, 3, 4, 5, 4 | 8, 4 | 16, 4 | 8 | 16 | 1, 4 | 64]) {
      expect(flagsOf(makeFrame(0x42, flags, new Uint8Array(4)))).toBe(flags);
    }
    expect(flagsOf(makeFrame(4, 32, new Uint8Array(8)))).toBe(32);
  });

  it('gives the id as Linux writes it, unsigned', () => {
    expect(linuxIdOf(dataFrame(0x18daf110, []))).toBe(0x98daf110);
    expect(linuxIdOf(remoteFrame(0x123, 4))).toBe(0x40000123);
    expect(linuxIdOf(makeFrame(4, 32, new Uint8Array(8)))).toBe(0x20000004);
  });

  it.each([
    ['an id of 12 bits that is not extended', () => dataFrame(0x800, [], { ext: false })],
    ['an id of 30 bits', () => dataFrame(0x20000000, [])],
    ['a negative id', () => dataFrame(-1, [])],
    ['a fraction as id', () => dataFrame(1.5, [])],
    ['NaN as id', () => dataFrame(Number.NaN, [])],
    ['nine bytes in a classical frame', () => dataFrame(1, new Array(9).fill(0))],
    ['thirteen bytes in an FD frame', () => dataFrame(1, new Array(13).fill(0), { fd: true })],
    ['65 bytes in an FD frame', () => dataFrame(1, new Array(65).fill(0), { fd: true })],
    ['BRS in a classical frame', () => dataFrame(1, [], { brs: true })],
    ['a remote FD frame', () => makeFrame(1, 2 | 4, new Uint8Array(0))],
    ['a remote frame for nine bytes', () => remoteFrame(1, 9)],
    ['a remote frame for -1 bytes', () => remoteFrame(1, -1)],
    ['unknown flags', () => makeFrame(1, 128, new Uint8Array(0))],
    ['a classical frame with FDF', () => makeFrame(1, 64, new Uint8Array(0))],
    ['an error frame with a flag', () => makeFrame(1, 33, new Uint8Array(8))],
    ['an error frame of five bytes', () => makeFrame(1, 32, new Uint8Array(5))],
  ])('refuses %s', (_, make) => {
    expect(make).toThrow(badFrame);
  });

  it('compares what is on the wire and not the time', () => {
    expect(sameFrame(dataFrame(1, [1, 2], { timeUs: 5 }), dataFrame(1, [1, 2], { timeUs: 6 }))).toBe(true);
    expect(sameFrame(dataFrame(1, [1, 2]), dataFrame(1, [1, 3]))).toBe(false);
    expect(sameFrame(dataFrame(1, [1, 2]), dataFrame(1, [1]))).toBe(false);
    expect(sameFrame(dataFrame(1, []), dataFrame(1, [], { fd: true }))).toBe(false);
    expect(sameFrame(dataFrame(1, []), dataFrame(1, [], { ext: true }))).toBe(false);
  });
});

describe('bits on the wire', () => {
  it('counts a classical frame between its shortest and its longest form', () => {
    // 8 bytes, 11-bit id: 34 + 64 = 98 bits can be stuffed, 13 can't: 111 to 111 + floor(97 / 4) = 135 bits.
    expect(wireBits(dataFrame(0x123, new Array(8).fill(0)))).toBe(98 + Math.round(97 / 8) + 13);
    // 29-bit id: 54 + 64 = 118: 131 to 131 + 29 = 160 bits.
    expect(wireBits(dataFrame(0x12345678, new Array(8).fill(0)))).toBe(118 + Math.round(117 / 8) + 13);
    expect(wireBits(dataFrame(0x123, []))).toBe(34 + Math.round(33 / 8) + 13);
  });

  it('takes a remote frame as empty, whatever it asks for', () => {
    expect(wireBits(remoteFrame(0x123, 8))).toBe(wireBits(dataFrame(0x123, [])));
  });

  it('lets BRS shorten the data phase only', () => {
    const slow = wireBits(dataFrame(1, new Array(64).fill(0), { fd: true }));
    const fast = wireBits(dataFrame(1, new Array(64).fill(0), { fd: true, brs: true }));
    // 17 bits + 2 stuffed + 13 in the tail stay; 5 + 512 + 65 stuffed + 32 of CRC shrink to a quarter.
    expect(slow).toBe(19 + 13 + 582 + 32);
    expect(fast).toBe(Math.round(19 + (582 + 32) / 4) + 13);
  });

  it('has a number above zero for every length of every kind', () => {
    for (const fd of [false, true]) {
      for (let n = 0; n <= 64; n++) {
        if (!isFrameLength(n, fd)) continue;
        expect(wireBits(dataFrame(1, new Array(n).fill(0), { fd }))).toBeGreaterThan(8 * n + 40);
      }
    }
  });
});

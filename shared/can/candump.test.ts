import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { formatCandumpLine, formatFrame, parseCandumpLine, parseFrameText } from './candump.ts';
import { dataFrame, makeFrame, remoteFrame, sameFrame } from './frame.ts';

describe('frames as text', () => {
  it.each([
    ['166#D0320009', dataFrame(0x166, [0xd0, 0x32, 0x00, 0x09])],
    ['5AA#', dataFrame(0x5aa, [])],
    ['1F334455#1122334455667788', dataFrame(0x1f334455, [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88])],
    ['00000123#AA', dataFrame(0x123, [0xaa], { ext: true })],
    ['123#R', remoteFrame(0x123)],
    ['00000123#R3', remoteFrame(0x123, 3, { ext: true })],
    ['123##0', dataFrame(0x123, [], { fd: true })],
    ['123##1AABB', dataFrame(0x123, [0xaa, 0xbb], { fd: true, brs: true })],
    ['123##2AABB', makeFrame(0x123, 4 | 16, Uint8Array.of(0xaa, 0xbb))],
    [`213##3${'5A'.repeat(64)}`, makeFrame(0x213, 4 | 8 | 16, new Uint8Array(64).fill(0x5a))],
    // As the candump of newer kernels writes it: with FDF.
    ['123##4', makeFrame(0x123, 4 | 64, new Uint8Array(0))],
    ['123##7AABB', makeFrame(0x123, 4 | 8 | 16 | 64, Uint8Array.of(0xaa, 0xbb))],
    ['20000004#0000000000000000', makeFrame(4, 32, new Uint8Array(8))],
  ])('reads and writes %s', (text, frame) => {
    expect(sameFrame(parseFrameText(text), frame)).toBe(true);
    expect(formatFrame(frame)).toBe(text);
  });

  it('reads what cansend reads: small letters, dots, the FDF flag, R0', () => {
    expect(sameFrame(parseFrameText('5a1#11.2233.44'), dataFrame(0x5a1, [0x11, 0x22, 0x33, 0x44]))).toBe(true);
    expect(sameFrame(parseFrameText('123##5aa'), dataFrame(0x123, [0xaa], { fd: true, brs: true }))).toBe(true);
    expect(sameFrame(parseFrameText('123#R0'), remoteFrame(0x123))).toBe(true);
  });

  it('reads over the bit of the FD flags that has no meaning, and keeps the three that have one', () => {
    for (let digit = 0; digit < 16; digit++) {
      const text = `123##${digit.toString(16).toUpperCase()}00`;
      const frame = parseFrameText(text);
      expect([frame.fd, frame.brs, frame.esi, frame.fdf]).toEqual([
        true,
        digit % 2 === 1,
        (digit & 2) > 0,
        (digit & 4) > 0,
      ]);
      expect(formatFrame(frame)).toBe(`123##${digit & 7}00`);
    }
  });

  it.each([
    ['', 0, 'no "#"'],
    ['123', 3, 'no "#"'],
    ['123##G00', 5, 'FD flags'],
    ['12#00', 0, 'three hex digits'],
    ['1234#00', 0, 'three hex digits'],
    ['12G#00', 2, 'not a hex digit'],
    ['FFF#00', 0, '11 bits'],
    ['9FFFFFFF#00', 0, 'at most 1FFFFFFF'],
    ['123#1', 5, 'two hex digits'],
    ['123#1Z', 5, 'two hex digits'],
    ['123#.11', 4, 'not a hex digit'],
    ['123#11.', 7, 'a byte is missing'],
    ['123#112233445566778899', 20, 'can hold 8 bytes'],
    ['123#1122334455667788_9', 20, 'raw DLC'],
    ['123#R9', 5, 'one digit'],
    ['123#R12', 5, 'one digit'],
    ['123##', 5, 'FD flags'],
    ['123##1112233445566778899', 6, 'not a valid CAN FD length'],
    [`123##1${'00'.repeat(65)}`, 134, 'can hold 64 bytes'],
    ['20000004#00', 0, 'error frame has 8 bytes'],
    ['20000004#R', 0, 'no other flags'],
  ])('refuses "%s" and names the character', (text, position, what) => {
    expect(() => parseFrameText(text)).toThrow(
      expect.objectContaining({
        code: ErrorCode.BadCandumpLine,
        message: expect.stringMatching(new RegExp(`character ${position + 1}: .*${what}`)),
        context: { position },
      }),
    );
  });
});

describe('candump log lines', () => {
  it('reads and writes a line with its time to the microsecond', () => {
    const line = '(1398128223.803317) can0 166#D0320009';
    const record = parseCandumpLine(line);
    expect(record.bus).toBe('can0');
    expect(record.frame.timeUs).toBe(1398128223803317);
    expect(formatCandumpLine(record.bus, record.frame)).toBe(line);
  });

  it('keeps every microsecond over a whole second', () => {
    for (let micros = 0; micros < 1_000_000; micros += 997) {
      const line = `(1763860000.${String(micros).padStart(6, '0')}) vcan0 18DAF110##1AABB`;
      const record = parseCandumpLine(line);
      expect(formatCandumpLine(record.bus, record.frame)).toBe(line);
    }
  });

  it('reads lines of newer can-utils with a direction, and an end of line', () => {
    expect(parseCandumpLine('(0000000000.000000) can0 123#R5 T\r\n').frame.rtr).toBe(true);
    expect(parseCandumpLine('(1.000001)   can0   123#00 R').frame.timeUs).toBe(1000001);
  });

  it('reads times to the nanosecond, whole microseconds of them', () => {
    expect(parseCandumpLine('(1700000000.123456789) can1 218#0102030405060708').frame.timeUs).toBe(1700000000123456);
    expect(parseCandumpLine('(0000000001.000000999) can1 218#01').frame.timeUs).toBe(1000000);
  });

  it.each([
    ['', 0, 'looks like'],
    ['(1398128223.8033171) can0 166#D0', 0, 'looks like'],
    ['(1398128223.80331712) can0 166#D0', 0, 'looks like'],
    ['(1398128223.8033171234) can0 166#D0', 0, 'looks like'],
    ['can0 166#D0', 0, 'looks like'],
    ['(1398128223.8033) can0 166#D0', 0, 'looks like'],
    ['(1398128223.803317) 166#D0', 0, 'looks like'],
    ['(13981282230000.803317) can0 166#D0', 0, 'looks like'],
    ['(-1.000000) can0 166#D0', 0, 'looks like'],
    ['(1398128223.803317) can0 166#D0 X', 0, 'looks like'],
    ['(1398128223.803317) can012345678901234 166#D0', 20, 'at most 15'],
    ['(1398128223.803317) can0 166#DG', 30, 'two hex digits'],
    ['(1398128223.803317) can0 16#D0', 25, 'three hex digits'],
  ])('refuses "%s" and names the character', (line, position, what) => {
    expect(() => parseCandumpLine(line)).toThrow(
      expect.objectContaining({
        code: ErrorCode.BadCandumpLine,
        message: expect.stringMatching(new RegExp(`character ${position + 1}: .*${what}`)),
      }),
    );
  });

  it('does not put a whole garbage file into the message', () => {
    expect(() => parseCandumpLine('x'.repeat(100_000))).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/^.{1,400}$/) }),
    );
  });
});

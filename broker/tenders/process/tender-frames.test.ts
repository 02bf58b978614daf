import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import { BROKER_FRAME_SIZE, decodeTenderFrame, OutcomeKind, TenderFrameReader, writeCall } from './tender-frames.ts';

function outcome(log: string, output: Buffer, change: (frame: Buffer) => void = () => {}): Buffer {
  const frame = Buffer.alloc(88);
  frame.writeUInt32LE(84 + log.length + output.length, 0);
  frame.writeUInt32LE(5, 4);
  frame.writeUInt32LE(OutcomeKind.Done, 8);
  frame.writeUInt32LE(3, 12);
  frame.writeBigUInt64LE(BigInt(output.length), 16);
  frame.writeBigUInt64LE(1_500_000n, 24);
  frame.writeBigUInt64LE(400_000n, 32);
  frame.writeUInt32LE(log.length, 40);
  frame.writeUInt32LE(1, 44);
  frame.writeBigUInt64LE(69_632n, 80);
  change(frame);
  return Buffer.concat([frame, Buffer.from(log), output]);
}

const badMessage = expect.objectContaining({ code: ErrorCode.BadProtocolMessage });

describe('an outcome', () => {
  test('is decoded without a copy of its output', () => {
    const bytes = outcome('log', Buffer.from([1, 2, 3]));
    const frame = decodeTenderFrame(bytes);
    if (frame.type !== 'outcome') throw new Error(frame.type);
    expect(frame).toMatchObject({
      kind: 1,
      status: 3,
      outputSize: 3,
      runNs: 1_500_000,
      cpuNs: 400_000,
      memory: 69_632,
    });
    expect(frame.log.toString()).toBe('log');
    expect(frame.output?.buffer).toBe(bytes.buffer);
    expect([...frame.output!]).toEqual([1, 2, 3]);
  });

  test.each<[string, (frame: Buffer) => void]>([
    ['a log longer than the frame', (frame) => frame.writeUInt32LE(1000, 40)],
    ['an output longer than the frame', (frame) => frame.writeBigUInt64LE(4n, 16)],
    ['an output shorter than the frame', (frame) => frame.writeBigUInt64LE(2n, 16)],
    ['an output of 2^60 bytes', (frame) => frame.writeBigUInt64LE(2n ** 60n, 16)],
    ['an output that is both inline and not', (frame) => frame.writeUInt32LE(0, 44)],
    ['a run time of 2^64 - 1', (frame) => frame.writeBigUInt64LE(2n ** 64n - 1n, 24)],
    ['a memory of 2^63 bytes', (frame) => frame.writeBigUInt64LE(2n ** 63n, 80)],
    ['an unknown type', (frame) => frame.writeUInt32LE(99, 4)],
  ])('with %s is refused', (_what, change) => {
    expect(() => decodeTenderFrame(outcome('log', Buffer.from([1, 2, 3]), change))).toThrow(badMessage);
  });

  test('cut off anywhere is refused', () => {
    const bytes = outcome('log', Buffer.from([1, 2, 3]));
    for (let size = 0; size < bytes.length; size++) {
      expect(() => decodeTenderFrame(bytes.subarray(0, size)), `${size} bytes`).toThrow(badMessage);
    }
  });
});

describe('the reader', () => {
  const frames = [outcome('', Buffer.alloc(0)), outcome('a', Buffer.alloc(300, 7)), outcome('bc', Buffer.alloc(1, 9))];
  const stream = Buffer.concat(frames);

  test.each([1, 2, 3, 4, 5, 7, 87, 88, 89, 400, 10_000])('finds the frames in chunks of %d bytes', (size) => {
    const reader = new TenderFrameReader();
    const found: Buffer[] = [];
    for (let at = 0; at < stream.length; at += size) {
      reader.push(stream.subarray(at, at + size), (frame) => found.push(Buffer.from(frame)));
    }
    expect(found.map((frame) => frame.toString('hex'))).toEqual(frames.map((frame) => frame.toString('hex')));
  });

  test.each([0, 3, 0x7fffffff, 0xffffffff, 88 + 4096 + 256 * 1024 - 3])('refuses a length of %d', (length) => {
    const header = Buffer.alloc(4);
    header.writeUInt32LE(length);
    expect(() => new TenderFrameReader().push(header, () => {})).toThrow(badMessage);
    expect(() => {
      const reader = new TenderFrameReader();
      for (const byte of header) reader.push(Buffer.from([byte]), () => {});
    }).toThrow(badMessage);
  });
});

test('a call carries sizes and budgets above 2^32', () => {
  const frame = Buffer.alloc(BROKER_FRAME_SIZE);
  writeCall(frame, 123, 3_600_000_000_000, true);
  expect(frame.readUInt32LE(0)).toBe(28 + 123);
  expect(frame.readUInt32LE(4)).toBe(17);
  expect(frame.readBigUInt64LE(8)).toBe(123n);
  expect(frame.readBigUInt64LE(16)).toBe(3_600_000_000_000n);
  expect(frame.readUInt32LE(24)).toBe(1);
  writeCall(frame, 123, 1, false);
  expect(frame.readUInt32LE(0)).toBe(28);
});

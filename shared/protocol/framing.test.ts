import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { DelimitedReader, delimit } from './framing.ts';

describe('length-delimited messages', () => {
  const messages = [0, 1, 127, 128, 16_383, 16_384, 70_000].map((length) => Buffer.alloc(length, length % 251));

  it('come back whole, whatever the chunks', () => {
    const stream = Buffer.concat(messages.map(delimit));
    for (const chunkSize of [1, 2, 3, 127, 1000, stream.length]) {
      const reader = new DelimitedReader();
      const seen: Buffer[] = [];
      for (let at = 0; at < stream.length; at += chunkSize) {
        seen.push(...reader.push(stream.subarray(at, at + chunkSize)).map((m) => Buffer.from(m)));
      }
      expect(seen.map((m) => m.length)).toEqual(messages.map((m) => m.length));
      expect(Buffer.concat(seen).equals(Buffer.concat(messages))).toBe(true);
    }
  });

  it('cost what they weigh, also when they come byte by byte', () => {
    const reader = new DelimitedReader();
    const before = process.memoryUsage().heapUsed;
    reader.push(delimit(Buffer.alloc(4_000_000)).subarray(0, 4));
    for (let i = 0; i < 500_000; i++) reader.push(Buffer.alloc(1));
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(30_000_000);
  });

  it('has the varint that protobuf writes', () => {
    expect([...delimit(Buffer.alloc(300)).subarray(0, 2)]).toEqual([0xac, 0x02]);
  });

  it('refuses a length above the limit before it has the bytes', () => {
    const reader = new DelimitedReader(100);
    expect(() => reader.push(Buffer.from([0xc8, 0x01]))).toThrow(
      expect.objectContaining({ code: ErrorCode.MessageTooLarge, message: expect.stringContaining('200') }),
    );
  });

  it('refuses a length that never ends', () => {
    const reader = new DelimitedReader();
    expect(() => reader.push(Buffer.alloc(6, 0xff))).toThrow(
      expect.objectContaining({ code: ErrorCode.BadProtocolMessage }),
    );
  });
});

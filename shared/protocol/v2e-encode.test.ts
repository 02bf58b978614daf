import type { Packet } from 'socket.io-parser';
import { expect, test } from 'vitest';
import { kerbside } from './generated/v2e.js';
import { encodeInPlace, ROOM, takeRoom } from './v2e-encode.ts';
import { v2eParser } from './v2e-parser.ts';

const { OffloadRequest, OffloadReply } = kerbside.v2e;
const encoder = new v2eParser.Encoder();
const write = (data: unknown[]): Buffer => {
  const [message] = encoder.encode({ type: 2, nsp: '/', data, id: 6 } as Packet);
  return message as Buffer;
};

test.each([0, 1, 100, 127, 128, 16_383, 16_384, 300_000, 1_048_576, 2_097_152])(
  'gives the bytes that protobufjs gives: a payload of %i bytes',
  (size) => {
    const output = Buffer.alloc(size, 0xa5);
    const request = { id: 'é'.repeat(64), taskDigest: `sha256:${'0'.repeat(64)}`, input: output, budgetMs: 1.5 };
    expect(encodeInPlace(OffloadRequest, request, size).equals(OffloadRequest.encode(request).finish())).toBe(true);
    const reply = { id: 'x', result: { output, queueMs: 1, runMs: 2, isolation: 'vm', broker: 'b' }, heldMs: 3 };
    expect(encodeInPlace(OffloadReply, reply, size).equals(OffloadReply.encode(reply).finish())).toBe(true);
  },
);

test('also when the fields need more room than was thought', () => {
  const refusal = { id: 'x', refusal: { code: 1, message: 'm'.repeat(100_000), retryAfterMs: 0 }, heldMs: 3 };
  const bytes = encodeInPlace(OffloadReply, refusal, 0);
  expect(bytes.equals(OffloadReply.encode(refusal).finish())).toBe(true);
  expect(write(['offload', bytes]).subarray(13).equals(OffloadReply.encode(refusal).finish())).toBe(true);
});

test('the parser writes in front of it, and what it writes is the same as for any other bytes', () => {
  const message = { id: 'x', result: { output: Buffer.alloc(100_000, 7) }, heldMs: 3 };
  const bytes = encodeInPlace(OffloadReply, message, 100_000);
  const written = write(['offload', bytes]);
  expect(written.buffer).toBe(bytes.buffer);
  expect(written.equals(write(['offload', Buffer.from(bytes)]))).toBe(true);
});

test('a message that is sent a second time leaves the first one as it was', () => {
  const bytes = encodeInPlace(OffloadReply, { id: 'x' }, 0);
  const first = write(['one', bytes]);
  const before = Buffer.from(first);
  const second = write(['two', bytes]);
  expect(first.equals(before)).toBe(true);
  expect(second.equals(first)).toBe(false);
  expect(second.subarray(9).equals(first.subarray(9))).toBe(true);
});

test('a name for which there is no room, and bytes that were made by others, are copied', () => {
  const bytes = encodeInPlace(OffloadReply, { id: 'x' }, 0);
  expect(takeRoom(bytes, ROOM + 1)).toBeUndefined();
  expect(takeRoom(Buffer.alloc(10), 6)).toBeUndefined();
  const written = write(['n'.repeat(100), bytes]);
  expect(written.subarray(106).equals(OffloadReply.encode({ id: 'x' }).finish())).toBe(true);
});

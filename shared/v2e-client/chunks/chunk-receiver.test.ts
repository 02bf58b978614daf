import { createHash, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { ErrorCode } from '../../base/errors.ts';
import { CHUNK_BYTES, type Credit, decodeChunk, decodeCredit, WINDOW_BYTES } from '../../protocol/chunks.ts';
import { ChunkReceiver } from './chunk-receiver.ts';
import { ChunkSender } from './chunk-sender.ts';

const OUTPUT = randomBytes(1_500_000);
const payloadOf = (bytes: Uint8Array) => ({ size: bytes.length, sha256: createHash('sha256').update(bytes).digest() });

function receiver() {
  const credits: Credit[] = [];
  const wire = { canWrite: true, send: (_: string, bytes: Uint8Array) => void credits.push(decodeCredit(bytes)) };
  return { credits, receiver: new ChunkReceiver(wire, () => 'rsu-1') };
}

const chunk = (offset: number, length = CHUNK_BYTES, id = 'a') => {
  return { id, output: true, offset, data: OUTPUT.subarray(offset, offset + length) };
};

function feed(to: ChunkReceiver, from: number, end: number): void {
  for (let at = from; at < end; at += CHUNK_BYTES) {
    expect(to.take(chunk(at, Math.min(CHUNK_BYTES, end - at)))).toBe(true);
  }
}

test('a whole output, for all who wait for it, and never more allowed than a window', async () => {
  const { receiver: one, credits } = receiver();
  const both = [one.receive('a', payloadOf(OUTPUT)), one.receive('a', payloadOf(OUTPUT))];
  expect(credits).toEqual([{ id: 'a', output: true, bytes: WINDOW_BYTES, from: 0 }]);
  feed(one, 0, OUTPUT.length);
  for (const output of await Promise.all(both)) expect(Buffer.compare(output, OUTPUT)).toBe(0);
  expect(credits.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(OUTPUT.length);
  expect(Math.max(...credits.map(({ bytes }) => bytes))).toBe(WINDOW_BYTES);
});

test.each([
  ['out of order', chunk(CHUNK_BYTES)],
  ['beyond its credit', { ...chunk(0), data: Buffer.alloc(WINDOW_BYTES + 1) }],
])('a broker that sends a chunk %s spoils one output', async (_name, bad) => {
  const { receiver: one } = receiver();
  const [spoiled, good] = [one.receive('a', payloadOf(OUTPUT)), one.receive('b', payloadOf(OUTPUT.subarray(0, 9)))];
  expect(one.take(bad)).toBe(false);
  await expect(spoiled).rejects.toMatchObject({ code: ErrorCode.BadProtocolMessage });
  expect(one.take(chunk(0))).toBe(true);
  expect(one.take(chunk(0, 9, 'b'))).toBe(true);
  expect(await good).toEqual(OUTPUT.subarray(0, 9));
});

test('another hash, and another output under the same id, are refused', async () => {
  const { receiver: one } = receiver();
  const wrong = one.receive('a', { size: OUTPUT.length, sha256: Buffer.alloc(32) });
  await expect(one.receive('a', payloadOf(OUTPUT))).rejects.toMatchObject({ code: ErrorCode.BadProtocolMessage });
  feed(one, 0, OUTPUT.length);
  await expect(wrong).rejects.toMatchObject({ code: ErrorCode.BadProtocolMessage });
});

test('a lost connection: goes on where it was, for the same hash; what is dropped is not kept', async () => {
  const { receiver: one, credits } = receiver();
  const lost = one.receive('a', payloadOf(OUTPUT));
  feed(one, 0, 2 * CHUNK_BYTES);
  one.lost();
  await expect(lost).rejects.toMatchObject({ code: ErrorCode.Cancelled });
  const again = one.receive('a', payloadOf(OUTPUT));
  expect(credits.at(-1)).toMatchObject({ from: 2 * CHUNK_BYTES, bytes: WINDOW_BYTES });
  feed(one, 2 * CHUNK_BYTES, OUTPUT.length);
  expect(Buffer.compare(await again, OUTPUT)).toBe(0);

  for (const end of ['lost', 'drop'] as const) {
    void one.receive('a', payloadOf(OUTPUT)).catch(() => {});
    feed(one, 0, CHUNK_BYTES);
    one[end]('a');
    const other = end === 'lost' ? OUTPUT.subarray(1) : OUTPUT;
    void one.receive('a', payloadOf(other)).catch(() => {});
    expect(credits.at(-1)).toMatchObject({ from: 0 });
    one.drop('a');
  }
});

test('a sender sends what it is allowed, from where it is told, inputs in turns, and only as it can write', () => {
  const sent: [string, number, number][] = [];
  let room = 3;
  const wire = {
    get canWrite() {
      return room > 0;
    },
    send: (_: string, bytes: Uint8Array) => {
      const { id, offset, data } = decodeChunk(bytes);
      sent.push([id, offset, data.length]);
      room--;
    },
  };
  const sender = new ChunkSender(wire);
  sender.add('a', OUTPUT);
  sender.add('b', OUTPUT);
  sender.credit({ id: 'a', output: false, bytes: 9, from: undefined });
  sender.credit({ id: 'unknown', output: false, bytes: 9, from: 0 });
  expect(sent).toEqual([]);
  sender.credit({ id: 'a', output: false, bytes: CHUNK_BYTES + 10, from: 100 });
  expect(sent.splice(0)).toEqual([
    ['a', 100, CHUNK_BYTES],
    ['a', 100 + CHUNK_BYTES, 10],
  ]);
  sender.credit({ id: 'a', output: false, bytes: WINDOW_BYTES, from: undefined });
  sender.credit({ id: 'b', output: false, bytes: WINDOW_BYTES, from: 0 });
  room = 3;
  sender.pump();
  expect(sent.splice(0).map(([id]) => id)).toEqual(['a', 'b', 'a', 'b']);
  sender.remove('a');
  room = 9;
  sender.pump();
  expect(new Set(sent.map(([id]) => id))).toEqual(new Set(['b']));
});

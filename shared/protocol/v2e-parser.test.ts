import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';
import type { Packet } from 'socket.io-parser';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { v2eParser } from './v2e-parser.ts';

const { Encoder, Decoder } = v2eParser;
const bytes = Buffer.from([0, 1, 2, 255]);
const encode = (packet: unknown) => new Encoder().encode(packet as Packet);

function decode(...messages: unknown[]): Packet[] {
  const decoder = new Decoder();
  const packets: Packet[] = [];
  decoder.on('decoded', (packet: Packet) => packets.push(packet));
  for (const message of messages) decoder.add(message);
  return packets;
}

/** A message of ours, byte by byte. */
function message(type: number, nameLength: number, id: number, rest: string | Buffer): Buffer {
  const head = Buffer.from([type, nameLength, 0, 0, 0, 0]);
  head.writeUInt32LE(id, 2);
  return Buffer.concat([head, Buffer.from(rest)]);
}

describe('what one message holds', () => {
  test.each<[string, Packet]>([
    ['an event that wants an answer', { type: 2, nsp: '/', data: ['offload', bytes], id: 0 }],
    ['an event that wants none', { type: 2, nsp: '/', data: ['hello', bytes], id: undefined }],
    ['an acknowledgement', { type: 3, nsp: '/', data: [bytes], id: 2 ** 32 - 2 }],
    ['an empty argument', { type: 3, nsp: '/', data: [Buffer.alloc(0)], id: 7 }],
    ['a name of 255 characters', { type: 2, nsp: '/', data: ['n'.repeat(255), bytes], id: 1 }],
  ])('%s', (_, packet) => {
    const messages = encode(packet);
    expect(messages).toHaveLength(1);
    expect(messages[0]).toBeInstanceOf(Buffer);
    expect(decode(...messages)).toEqual([packet]);
  });

  test('bytes as the format says, with a view of the argument on the way in', () => {
    const packet = { type: 2, nsp: '/', data: ['ab', new Uint8Array([9])], id: 257 };
    const [written] = encode(packet) as [Buffer];
    expect([...written]).toEqual([2, 2, 2, 1, 0, 0, 0x61, 0x62, 9]);
    const [read] = decode(written);
    expect(read?.data[1].buffer).toBe(written.buffer);
  });
});

describe('what socket.io writes its own way comes through, too', () => {
  test.each<[string, Packet, number]>([
    ['connecting', { type: 0, nsp: '/', data: { token: 'x' } }, 1],
    ['a refused connection', { type: 4, nsp: '/', data: { message: 'no' } }, 1],
    ['text', { type: 2, nsp: '/', data: ['say', 'hello'], id: 3 }, 1],
    ['another namespace', { type: 2, nsp: '/admin', data: ['offload', bytes], id: 3 }, 2],
    ['two binary arguments', { type: 2, nsp: '/', data: ['pair', bytes, bytes] }, 3],
    ['binary within an object', { type: 3, nsp: '/', data: [{ inner: bytes }], id: 3 }, 2],
    ['a name that is no plain ASCII', { type: 2, nsp: '/', data: ['größe', bytes] }, 2],
    ['a name of 256 characters', { type: 2, nsp: '/', data: ['n'.repeat(256), bytes] }, 2],
    ['a number as name', { type: 2, nsp: '/', data: [5, bytes] }, 2],
    ['an id that four bytes do not hold', { type: 3, nsp: '/', data: [bytes], id: 2 ** 32 - 1 }, 2],
  ])('%s', (_, packet, count) => {
    const messages = encode(packet);
    expect(messages).toHaveLength(count);
    const [read] = decode(...messages);
    expect(read).toMatchObject(JSON.parse(JSON.stringify({ ...packet, data: undefined })));
    expect(read?.data).toEqual(packet.data);
  });

  test('one after the other, in any order', () => {
    const packets = [
      { type: 2, nsp: '/', data: ['offload', bytes], id: 1 },
      { type: 2, nsp: '/', data: ['pair', bytes, bytes], id: 2 },
      { type: 3, nsp: '/', data: [bytes], id: 3 },
      { type: 2, nsp: '/', data: ['text'], id: 4 },
      { type: 2, nsp: '/', data: ['offload', bytes], id: 5 },
    ];
    const read = decode(...packets.flatMap((packet) => encode(packet)));
    expect(read.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5]);
    expect(read[1]?.data).toEqual(['pair', bytes, bytes]);
  });

  test('a connection that broke off between two messages leaves nothing behind', () => {
    const decoder = new Decoder();
    const packets: Packet[] = [];
    decoder.on('decoded', (packet: Packet) => packets.push(packet));
    decoder.add('52-["pair",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    decoder.add(bytes);
    decoder.destroy();
    decoder.add(message(3, 0, 1, 'x'));
    expect(packets).toEqual([{ type: 3, nsp: '/', data: [Buffer.from('x')], id: 0 }]);
  });
});

test('everything that socket.io does goes through it: rooms, namespaces, acknowledgements, mixed arguments', async () => {
  const http = createServer();
  const transports: 'websocket'[] = ['websocket'];
  const server = new Server(http, { parser: v2eParser, transports });
  for (const space of ['/', '/admin']) {
    server.of(space).on('connection', (socket) => {
      socket.join('room');
      socket.on('back', (...given: unknown[]) => (given.pop() as (...back: unknown[]) => void)(...given));
    });
  }
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  const clients = ['/', '/', '/admin'].map((space) =>
    io(url + space, { parser: v2eParser, transports, forceNew: true }),
  );
  try {
    await Promise.all(clients.map((client) => new Promise<void>((resolve) => client.once('connect', resolve))));
    for (const client of clients) {
      const back = (...given: unknown[]) =>
        new Promise<unknown[]>((done) => client.emit('back', ...given, (...all: unknown[]) => done(all)));
      // All at once: messages of one kind between those of the other.
      const answers = await Promise.all([
        back(bytes),
        back('text'),
        back(bytes, { inner: bytes }),
        back(bytes),
        back(),
      ]);
      expect(answers).toEqual([[bytes], ['text'], [bytes, { inner: bytes }], [bytes], []]);
    }
    const heard = clients.map(
      (client) => new Promise<unknown[]>((done) => client.once('news', (...all: unknown[]) => done(all))),
    );
    server.to('room').emit('news', bytes);
    server.of('/admin').emit('news', bytes, { inner: bytes });
    expect(await Promise.all(heard)).toEqual([[bytes], [bytes], [bytes, { inner: bytes }]]);
  } finally {
    for (const client of clients) client.disconnect();
    await server.close();
  }
});

describe('what a peer must not send', () => {
  test.each<[string, Buffer, RegExp]>([
    ['nothing', Buffer.alloc(0), /cut off: 0 bytes/],
    ...[1, 2, 5].map((size): [string, Buffer, RegExp] => [
      `${size} bytes`,
      message(2, 0, 1, '').subarray(0, size),
      /cut off/,
    ]),
    ['a name that is longer than the message', message(2, 8, 1, 'offload'), /cut off/],
    ['the longest name, and none of it', message(2, 255, 1, ''), /cut off/],
    ['an event without a name', message(2, 0, 1, 'offload'), /name an event so/],
    ['a name with a line break', message(2, 3, 1, 'a\nb'), /name an event so/],
    ['a name that is no ASCII', message(2, 2, 1, Buffer.from('ü')), /name an event so/],
    ...['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'].map(
      (name): [string, Buffer, RegExp] => [`${name}`, message(2, name.length, 0, name), /name an event so/],
    ),
    ['an acknowledgement of nothing', message(3, 0, 0, 'x'), /has an id/],
    ['an acknowledgement with a name', message(3, 1, 1, 'x'), /no name/],
    ...[0, 1, 4, 5, 6, 7, 0x32, 255].map((type): [string, Buffer, RegExp] => [
      `type ${type}`,
      message(type, 0, 1, 'x'),
      new RegExp(`type is ${type}`),
    ]),
  ])('%s', (_, bad, why) => {
    expect(() => decode(bad)).toThrow(
      expect.objectContaining({ code: ErrorCode.BadProtocolMessage, message: expect.stringMatching(why) }),
    );
  });

  test.each<[string, unknown[], RegExp]>([
    ['more attachments than socket.io allows', [`51000-["x"]`], /too many attachments/],
    ['a negative number of them', [`5-1-["x"]`], /Illegal attachments/],
    ['text among attachments', ['51-["x",{"_placeholder":true,"num":0}]', '2["x"]'], /plaintext/],
    ['a placeholder of no attachment', ['51-["x",{"_placeholder":true,"num":7}]', bytes], /illegal attachments/],
    ['text that is no packet', ['hello'], /unknown packet type/],
    ['neither text nor binary', [{ type: 2 }], /Unknown type/],
  ])('%s', (_, messages, why) => expect(() => decode(...messages)).toThrow(why));

  test('chance: it is read or refused, and never more than one packet', () => {
    let seed = 99;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      return (seed >>> 8) % below;
    };
    let good = 0;
    for (let i = 0; i < 20_000; i++) {
      const size = random(24);
      const noise = Buffer.from(Array.from({ length: size }, (_, at) => (at < 6 ? random(8) : 0x20 + random(0x60))));
      try {
        const packets = decode(noise);
        expect(packets).toHaveLength(1);
        expect([2, 3]).toContain(packets[0]?.type);
        good++;
      } catch (error) {
        expect(error).toMatchObject({ code: ErrorCode.BadProtocolMessage });
      }
    }
    expect(good).toBeGreaterThan(100);
    expect(good).toBeLessThan(19_000);
  });
});

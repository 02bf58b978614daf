import { connect as connectSocket, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connect } from '../../shared/app-sdk/index.ts';
import { ErrorCode } from '../../shared/errors.ts';
import { DelimitedReader, delimit } from '../../shared/protocol/framing.ts';
import { kerbside } from '../../shared/protocol/generated/gateway.js';
import { MAX_CONNECTIONS } from './gateway.ts';
import { MAX_PLAIN } from './large-message.ts';
import { MAX_OPEN } from './offload-desk.ts';
import { allGrants, canRead, HandObu, noGrants, value, workload } from './test-parts.ts';

const { ClientMessage, ServerMessage } = kerbside.gateway.v1;
type ClientFields = kerbside.gateway.v1.ClientMessage.$Properties;

let obu: HandObu;
let path: string;
const sockets: Socket[] = [];

beforeEach(async () => {
  obu = new HandObu();
  ({ path } = await obu.serve(workload('hostile', allGrants)));
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await obu.close();
});

/** A container that speaks for itself, without the SDK. */
class RawClient {
  readonly socket: Socket;
  readonly answers: kerbside.gateway.v1.ServerMessage[] = [];
  readonly closed: Promise<void>;
  readonly #reader = new DelimitedReader();

  constructor() {
    this.socket = connectSocket(path);
    sockets.push(this.socket);
    this.socket.on('data', (data) => {
      for (const bytes of this.#reader.push(data)) this.answers.push(ServerMessage.decode(bytes));
    });
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
  }

  send(message: ClientFields): void {
    this.socket.write(delimit(ClientMessage.encode(message).finish()));
  }

  hello(): void {
    this.send({ request: 1, hello: { version: 1, client: 'test' } });
  }

  async answer(request: number): Promise<kerbside.gateway.v1.ServerMessage> {
    for (;;) {
      const found = this.answers.find((answer) => answer.request === request);
      if (found) return found;
      if (this.socket.destroyed) throw new Error(`closed without an answer to ${request}`);
      await sleep(5);
    }
  }
}

const failure = (code: number, message: RegExp) => ({ failure: { code, message: expect.stringMatching(message) } });

describe('frames that no bus can carry are refused in the OBU, whatever the SDK would say:', () => {
  const data = new Uint8Array(8);
  it.each<[string, kerbside.gateway.v1.CanFrame.$Properties]>([
    ['an id above 11 bits', { id: 0x800, data }],
    ['nine bytes', { id: 1, data: new Uint8Array(9) }],
    ['a remote FD frame', { id: 1, flags: 6, data }],
    ['BRS without FD', { id: 1, flags: 8, data }],
    ['unknown flags', { id: 1, flags: 64, data }],
    ['a quarter of a megabyte', { id: 1, flags: 4, data: new Uint8Array(MAX_PLAIN - 100) }],
  ])('%s', async (_what, frame) => {
    const write = [0, 1].map((id) => ({ id, ext: false, length: undefined, maxPerSecond: undefined }));
    const can = [{ ...canRead('can0', '0:0'), write }];
    ({ path } = await obu.serve(workload('writer', { ...noGrants, can })));
    const client = new RawClient();
    client.hello();
    client.send({ request: 2, sendCan: { bus: 'can0', frames: [frame] } });
    expect(await client.answer(2)).toMatchObject(failure(ErrorCode.BadCanFrame, /^not a CAN frame/));
    // An error frame is a frame, and never theirs to send.
    client.send({ request: 3, sendCan: { bus: 'can0', frames: [{ id: 1, flags: 32, data }] } });
    expect(await client.answer(3)).toMatchObject(failure(ErrorCode.CanWriteNotGranted, /error frames/));
    // No bus, no frames, no fields at all: refused or empty, and the connection goes on.
    client.send({ request: 4, sendCan: {} });
    expect(await client.answer(4)).toMatchObject(failure(ErrorCode.NotGranted, /CAN bus ""/));
    client.send({ request: 5, sendCan: { bus: 'can0', frames: [{}] } });
    expect(await client.answer(5)).toMatchObject({ accepted: {} });
    expect(obu.bus.sent.map(({ id, data: bytes }) => [id, bytes.length])).toEqual([[0, 0]]);
  });
});

describe('a connection ends, with the reason, for', () => {
  const endings: readonly [string, (client: RawClient) => void, number, number, RegExp][] = [
    [
      'bytes that are no message',
      (c) => c.socket.write(delimit(Buffer.alloc(9, 0xff))),
      0,
      ErrorCode.BadProtocolMessage,
      /decoded/,
    ],
    [
      'a length that never ends',
      (c) => c.socket.write(Buffer.alloc(64, 0xff)),
      0,
      ErrorCode.BadProtocolMessage,
      /varint/,
    ],
    [
      'a huge length',
      (c) => c.socket.write(Buffer.from('ffffffff0f', 'hex')),
      0,
      ErrorCode.MessageTooLarge,
      /4294967295 bytes/,
    ],
    [
      'a large message that is no input',
      (c) => c.send({ request: 1, subscribeSignals: { paths: Array(MAX_PLAIN).fill('') } }),
      0,
      ErrorCode.MessageTooLarge,
      /without the input of an offload 262144/,
    ],
    ['no Hello', (c) => c.send({ request: 1, unsubscribe: {} }), 0, ErrorCode.BadGatewayRequest, /has to be a Hello/],
    [
      'another version',
      (c) => c.send({ request: 1, hello: { version: 9 } }),
      1,
      ErrorCode.BadGatewayRequest,
      /asked for version 9/,
    ],
    ['request 0', (c) => c.send({ request: 0, hello: { version: 1 } }), 0, ErrorCode.BadGatewayRequest, /request 0/],
  ];
  it.each(endings)('%s', async (_what, send, request, code, message) => {
    const client = new RawClient();
    send(client);
    expect(await client.answer(request)).toMatchObject(failure(code, message));
    await client.closed;
    expect(obu.failures).toMatchObject([{ workload: 'hostile', error: { code } }]);
  });

  it('a request number that is still open', async () => {
    const client = new RawClient();
    client.hello();
    client.send({ request: 2, subscribeSignals: { paths: ['Vehicle.Speed'] } });
    client.send({ request: 2, subscribeSignals: { paths: ['Vehicle.Speed'] } });
    expect(await client.answer(0)).toMatchObject(failure(ErrorCode.BadGatewayRequest, /request 2 is still open/));
    await client.closed;
    expect(obu.signals.listeners.size).toBe(0);
  });
});

describe('a connection goes on after', () => {
  const harmless: readonly [string, ClientFields, number, RegExp][] = [
    ['a message of a newer protocol', { request: 5 }, ErrorCode.BadGatewayRequest, /does not know what that message/],
    ['a second Hello', { request: 5, hello: { version: 1 } }, ErrorCode.BadGatewayRequest, /said Hello already/],
    [
      'ending what is not open',
      { request: 5, unsubscribe: { subscription: 77 } },
      ErrorCode.BadGatewayRequest,
      /no subscription 77/,
    ],
    ['signals without a path', { request: 5, subscribeSignals: {} }, ErrorCode.BadGatewayRequest, /at least one path/],
    [
      'too many paths',
      { request: 5, subscribeSignals: { paths: Array(5000).fill('a') } },
      ErrorCode.TooManyRequests,
      /5000 paths/,
    ],
    [
      'too many filters',
      { request: 5, subscribeCan: { bus: 'can0', filters: Array(600).fill('1:7') } },
      ErrorCode.TooManyRequests,
      /600 filters/,
    ],
    [
      'an unknown picture format',
      { request: 5, subscribeCamera: { camera: 'front', format: 9 as never } },
      ErrorCode.BadCameraWish,
      /format 9/,
    ],
    [
      'a negative rate',
      { request: 5, subscribeCamera: { camera: 'front', fps: -1 } },
      ErrorCode.BadCameraWish,
      /above 0/,
    ],
    [
      'an offload without id',
      { request: 5, offload: { task: 'dashcam-filter', budgetMs: 5 } },
      ErrorCode.BadGatewayRequest,
      /offload id/,
    ],
    [
      'an offload with a path in its id',
      { request: 5, offload: { id: 'a\nb', task: 'dashcam-filter', budgetMs: 5 } },
      ErrorCode.BadGatewayRequest,
      /offload id/,
    ],
    [
      'an endless budget',
      { request: 5, offload: { id: 'a', task: 'dashcam-filter', budgetMs: Number.POSITIVE_INFINITY } },
      ErrorCode.BadGatewayRequest,
      /number of milliseconds/,
    ],
    [
      'no budget',
      { request: 5, offload: { id: 'a', task: 'dashcam-filter' } },
      ErrorCode.BudgetExhausted,
      /no budget left/,
    ],
  ];
  it.each(harmless)('%s', async (_what, message, code, sentence) => {
    const client = new RawClient();
    client.hello();
    client.send(message);
    expect(await client.answer(5)).toMatchObject(failure(code, sentence));
    client.send({ request: 6, subscribeSignals: { paths: ['Vehicle.Speed'] } });
    expect(await client.answer(6)).toMatchObject({ body: 'accepted' });
  });

  it('more open offloads than one workload may have', async () => {
    obu.offloader.answer = () => new Promise(() => {});
    const client = new RawClient();
    client.hello();
    for (let i = 0; i <= MAX_OPEN; i++) {
      client.send({
        request: 10 + i,
        offload: { id: `o${i}`, task: 'dashcam-filter', input: Buffer.of(i), budgetMs: 400 },
      });
    }
    expect(await client.answer(10 + MAX_OPEN)).toMatchObject(
      failure(ErrorCode.TooManyRequests, /32 offloads are open/),
    );
    expect(obu.offloader.requests).toHaveLength(MAX_OPEN);
  });
});

it('a workload that may not offload has no use for large messages', async () => {
  ({ path } = await obu.serve(workload('small', { ...allGrants, offload: undefined })));
  const client = new RawClient();
  client.hello();
  client.send({
    request: 2,
    offload: { id: 'a', task: 'dashcam-filter', input: Buffer.alloc(MAX_PLAIN), budgetMs: 5 },
  });
  expect(await client.answer(0)).toMatchObject(failure(ErrorCode.MessageTooLarge, /the limit is 262144/));
});

describe('others do not notice', () => {
  it('a container that opens more connections than it may', async () => {
    const clients = Array.from({ length: MAX_CONNECTIONS + 2 }, () => new RawClient());
    for (const client of clients) client.hello();
    await Promise.race([clients.at(-1)!.closed, clients.at(-2)!.closed]);
    expect(await clients[0]!.answer(1)).toMatchObject({ body: 'welcome' });
  });

  it('a container that sends thousands of requests at once: others have their turn in between', async () => {
    const polite = await connect({ path: (await obu.serve(workload('polite', allGrants))).path });
    try {
      const flood = new RawClient();
      flood.hello();
      await flood.answer(1);
      const ask = delimit(ClientMessage.encode({ request: 2 }).finish());
      flood.socket.write(Buffer.concat(Array(5000).fill(ask)));
      while (obu.failures.length === 0) await sleep(0);
      const before = obu.failures.length;
      await polite.offload('dashcam-filter', Buffer.of(1), { budgetMs: 400 });
      expect(before).toBeLessThan(1000);
      expect(obu.failures.length).toBeLessThan(2500);
      while (flood.answers.length < 5001) await sleep(5);
    } finally {
      polite.close();
    }
  });

  it('a container that never reads: it loses its own oldest frames and is told how many', async () => {
    const other = await connect({ path: (await obu.serve(workload('quick', allGrants))).path });
    try {
      const slow = new RawClient();
      slow.hello();
      slow.send({ request: 2, subscribeCan: { bus: 'can0' } });
      await slow.answer(2);
      slow.socket.pause();

      const iterator = other.can({ bus: 'can0' })[Symbol.asyncIterator]();
      let quick = 0;
      let sent = 0;
      await other.offload('dashcam-filter', Buffer.of(1), { budgetMs: 400 });
      while (obu.dropped.can === 0) {
        const ids = Array.from({ length: 1000 }, (_, i) => 0x100 + (i % 256));
        obu.bus.deliver(...ids);
        sent += ids.length;
        while (quick < sent) quick += (await iterator.next()).value.frames.length;
      }
      expect(quick).toBe(sent);
      const dropped = obu.dropped.can;

      slow.socket.resume();
      const got = () => slow.answers.reduce((sum, { canFrames }) => sum + (canFrames?.frames?.length ?? 0), 0);
      while (got() + dropped < sent) await sleep(5);
      expect(got() + dropped).toBe(sent);
      expect(Number(slow.answers.at(-1)!.canFrames!.dropped)).toBe(dropped);
    } finally {
      other.close();
    }
  });

  it('a container that asks and asks and never reads the answers: it is not read from any more', async () => {
    const client = new RawClient();
    client.hello();
    await client.answer(1);
    client.socket.pause();
    for (let i = 0; i < 200_000; i++) client.send({ request: 2, unsubscribe: { subscription: 9 } });
    let before = -1;
    while (before !== obu.failures.length || before === 0) {
      before = obu.failures.length;
      await sleep(100);
    }
    expect(before).toBeLessThan(200_000);
    const polite = await connect({ path });
    obu.signals.deliver(value('Vehicle.Speed', 3));
    for await (const values of polite.signals(['Vehicle.Speed'])) {
      expect(values[0]!.value).toBe(3);
      break;
    }
    polite.close();
  });
});

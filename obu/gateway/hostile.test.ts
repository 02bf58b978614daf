import { connect as connectSocket, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { connect } from '../../shared/app-sdk/index.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { DelimitedReader, delimit } from '../../shared/protocol/framing.ts';
import { kerbside } from '../../shared/protocol/generated/gateway.js';
import { allGrants, canRead, HandObu, noGrants, value, workload } from '../../test/support/gateway-parts.ts';
import { MAX_CONNECTIONS } from './gateway.ts';
import { MAX_PLAIN } from './large-message.ts';
import { HELLO_MS, MESSAGE_MS, READ_MS } from './receive-timeout.ts';
import { MAX_OPEN, MAX_OPEN_BYTES } from './services/offload-service.ts';

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
    const patient = { ...allGrants, offload: { tasks: ['dashcam-filter'], maxBudgetMs: 60_000 } };
    const polite = await connect({ path: (await obu.serve(workload('polite', patient))).path });
    try {
      const flood = new RawClient();
      flood.hello();
      await flood.answer(1);
      const ask = delimit(ClientMessage.encode({ request: 2 }).finish());
      flood.socket.write(Buffer.concat(Array(5000).fill(ask)));
      while (obu.failures.length === 0) await sleep(0);
      await polite.offload('dashcam-filter', Buffer.of(1), { budgetMs: 60_000 });
      // In between, and not behind the last one.
      expect(obu.failures.length).toBeLessThan(5000);
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

describe('is named', () => {
  /** Time stands still for the gateway's deadlines, and goes on as it is told to; sockets go on by themselves. */
  const stopTime = () => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  /** Lets what is on sockets arrive. */
  const arrive = async (until: () => boolean) => {
    while (!until()) await new Promise((resolve) => setImmediate(resolve));
  };
  const some = async () => {
    let turns = 0;
    await arrive(() => ++turns > 100);
  };
  afterEach(() => {
    vi.useRealTimers();
  });

  it('a container that connects and says nothing', async () => {
    stopTime();
    const client = new RawClient();
    await some();
    vi.advanceTimersByTime(HELLO_MS);
    await client.closed;
    expect(client.answers).toMatchObject([failure(ErrorCode.KeptWaiting, /its Hello has not come for 10 s/)]);
    expect(obu.failures).toMatchObject([{ workload: 'hostile', error: { code: ErrorCode.KeptWaiting } }]);
  });

  it.each([
    ['half a length', Buffer.of(0x80)],
    ['half a message', Buffer.of(100, 1, 2, 3)],
  ])('a container that sends %s, byte by byte, and never the rest', async (_what, begin) => {
    stopTime();
    const client = new RawClient();
    client.hello();
    await arrive(() => client.answers.length === 1);
    for (const byte of begin) client.socket.write(Buffer.of(byte));
    await some();
    vi.advanceTimersByTime(MESSAGE_MS - 1);
    await some();
    expect(client.socket.destroyed).toBe(false);
    vi.advanceTimersByTime(1);
    await client.closed;
    expect(client.answers[1]).toMatchObject(failure(ErrorCode.KeptWaiting, /the rest of a message has not come/));
  });

  it('nobody who sends message after message, each beginning with the end of the one before', async () => {
    stopTime();
    const client = new RawClient();
    const bytes = delimit(ClientMessage.encode({ request: 1, hello: { version: 1, client: 'test' } }).finish());
    const ask = delimit(ClientMessage.encode({ request: 2, unsubscribe: { subscription: 9 } }).finish());
    client.socket.write(Buffer.concat([bytes, ask.subarray(0, 3)]));
    await arrive(() => client.answers.length === 1);
    await some();
    for (let i = 0; i < 5; i++) {
      vi.advanceTimersByTime(MESSAGE_MS - 1);
      const { length } = client.answers;
      client.socket.write(Buffer.concat([ask.subarray(3), ask.subarray(0, 3)]));
      await arrive(() => client.answers.length > length);
    }
    expect(client.socket.destroyed).toBe(false);
  });

  it('nobody who is frozen', async () => {
    const { path: mine, gateway } = await obu.serve(workload('frozen', allGrants));
    path = mine;
    stopTime();
    const client = new RawClient();
    client.hello();
    client.socket.write(Buffer.of(100, 1));
    await arrive(() => client.answers.length === 1);
    await some();
    gateway.frozen = true;
    vi.advanceTimersByTime(10 * MESSAGE_MS);
    gateway.frozen = false;
    vi.advanceTimersByTime(MESSAGE_MS - 1);
    await some();
    expect(client.socket.destroyed).toBe(false);
    vi.advanceTimersByTime(MESSAGE_MS);
    await client.closed;
    expect(client.answers[1]).toMatchObject(failure(ErrorCode.KeptWaiting, /the rest of a message/));
  });

  it('a container that subscribes to frames, signals and pictures and reads nothing, once; nobody who reads', async () => {
    const reader = await connect({ path: (await obu.serve(workload('reader', allGrants))).path });
    const pictures = reader.camera('front', { format: 'gray8' })[Symbol.asyncIterator]();
    stopTime();
    const stuck = new RawClient();
    stuck.hello();
    stuck.send({ request: 2, subscribeCan: { bus: 'can0' } });
    stuck.send({ request: 3, subscribeSignals: { paths: ['Vehicle.Speed'] } });
    stuck.send({ request: 4, subscribeCamera: { camera: 'front', format: 2 } });
    await arrive(() => stuck.answers.length === 4);
    stuck.socket.pause();
    let pictureNumber = 0;
    const next = pictures.next();
    await arrive(() => obu.camera.consumers.size === 2);
    const deliver = async () => {
      obu.bus.deliver(0x100, 0x101);
      obu.signals.deliver(value('Vehicle.Speed', 1));
      obu.camera.deliver(++pictureNumber, Buffer.alloc(300_000));
      await some();
    };
    await deliver();
    expect((await next).value).toMatchObject({ sequence: 1 });
    let read = 1;
    while (obu.dropped.pictures === 0) {
      const picture = pictures.next();
      await deliver();
      expect((await picture).value).toMatchObject({ sequence: ++read });
    }
    for (let i = 0; i < 4; i++) {
      vi.advanceTimersByTime(READ_MS);
      await deliver();
    }
    expect(read).toBeGreaterThan(2);
    expect(obu.failures).toMatchObject([
      { workload: 'hostile', error: { code: ErrorCode.ReadsNothing, message: expect.stringContaining('for 5 s') } },
    ]);
    reader.close();
  });

  it('a container that connects and disconnects in a loop, and it is refused for a while', async () => {
    const polite = await connect({ path: (await obu.serve(workload('polite', allGrants))).path });
    while (obu.failures.length < 20) {
      const client = new RawClient();
      client.hello();
      await Promise.race([client.answer(1).catch(() => {}), client.closed]);
      client.socket.destroy();
      await client.closed;
    }
    expect(new Set(obu.failures.map(({ workload: name, error }) => `${name}: ${error.message}`))).toEqual(
      new Set([
        'hostile: it has opened 50 connections in a row and opens more than 10 per second; another one was refused',
      ]),
    );
    await polite.offload('dashcam-filter', Buffer.of(1), { budgetMs: 400 });
    polite.close();
  });

  it('a container that holds all its connections and wants more', async () => {
    const clients = Array.from({ length: MAX_CONNECTIONS }, () => new RawClient());
    for (const client of clients) client.hello();
    for (const client of clients) await client.answer(1);
    await new RawClient().closed;
    expect(obu.failures).toMatchObject([
      { workload: 'hostile', error: { code: ErrorCode.TooManyRequests, message: expect.stringContaining('4 conn') } },
    ]);
  });

  it('a container that hands in large offloads and hangs up, again and again', async () => {
    const polite = await connect({ path: (await obu.serve(workload('polite', allGrants))).path });
    const answers: (() => void)[] = [];
    const done = obu.offloader.answer;
    obu.offloader.answer = (request) =>
      request.input.length < 10
        ? done(request)
        : new Promise((_, reject) => answers.push(() => reject(new Error('-'))));
    const input = Buffer.alloc(4 * 1024 * 1024);
    for (let i = 0; obu.failures.length === 0; i++) {
      const client = new RawClient();
      client.hello();
      client.send({ request: 2, offload: { id: `o${i}`, task: 'dashcam-filter', input, budgetMs: 400 } });
      while (obu.offloader.requests.length <= i && obu.failures.length === 0) await sleep(5);
      client.socket.destroy();
      await client.closed;
    }
    expect(obu.offloader.requests).toHaveLength(MAX_OPEN_BYTES / input.length);
    expect(obu.failures).toMatchObject([{ workload: 'hostile', error: { code: ErrorCode.TooManyRequests } }]);
    await polite.offload('dashcam-filter', Buffer.of(1), { budgetMs: 400 });
    polite.close();
    for (const answer of answers) answer();
  });
});

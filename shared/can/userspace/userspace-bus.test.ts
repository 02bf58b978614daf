import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../base/errors.ts';
import { silentLog } from '../../base/log.ts';
import { formatFrame, parseFrameText } from '../candump.ts';
import { type CanFrame, dataFrame } from '../frame.ts';
import { UserspaceBus } from './userspace-bus.ts';
import { droppedTotal, encodeFrame, encodeHello, RECORD_SIZE, RecordType } from './userspace-protocol.ts';
import { UserspaceBusServer } from './userspace-server.ts';

let folder: string;
let socketPath: string;
let closing: (() => Promise<void>)[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-can-'));
  socketPath = join(folder, 'bus.sock');
  closing = [];
});

afterEach(async () => {
  for (const close of closing.reverse()) await close();
  await rm(folder, { recursive: true });
});

async function serve(): Promise<UserspaceBusServer> {
  const server = new UserspaceBusServer({ socketPath, name: 'can0', log: silentLog() });
  await server.start();
  closing.push(() => server.stop());
  return server;
}

function makeBus(client = 'test'): UserspaceBus {
  const bus = new UserspaceBus({ name: 'can0', socketPath, client, log: silentLog() });
  closing.push(() => bus.stop());
  return bus;
}

async function joinBus(client?: string): Promise<{ bus: UserspaceBus; frames: CanFrame[] }> {
  const bus = makeBus(client);
  const frames: CanFrame[] = [];
  bus.subscribe((frame) => frames.push(frame));
  await bus.start();
  return { bus, frames };
}

/** A program that speaks bytes and not frames. */
async function rawClient(
  ...bytes: Buffer[]
): Promise<{ socket: Socket; received: () => Buffer; closed: Promise<void> }> {
  const socket = createConnection(socketPath);
  closing.push(async () => void socket.destroy());
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await new Promise((resolve) => socket.once('connect', resolve));
  for (const part of bytes) socket.write(part);
  return { socket, received: () => Buffer.concat(chunks), closed };
}

function record(frame: CanFrame): Buffer {
  const bytes = Buffer.alloc(RECORD_SIZE);
  encodeFrame(frame, bytes, 0);
  return bytes;
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (condition()) return;
    await sleep(10);
  }
  throw new Error(`waited in vain until ${what}`);
}

const texts = [
  '123#',
  '7FF#1122334455667788',
  '1FFFFFFF#AA',
  '123#R',
  '00000123#R8',
  '123##0',
  `18DAF110##3${'A5'.repeat(64)}`,
];

describe('the userspace bus', () => {
  it('hands every frame to all programs but its sender, in order', async () => {
    await serve();
    const [a, b, c] = [await joinBus('a'), await joinBus('b'), await joinBus('c')];
    for (const text of texts) a.bus.send(parseFrameText(text));
    b.bus.send(parseFrameText('456#01'));
    await until('all have all', () => c.frames.length === texts.length + 1 && b.frames.length === texts.length);
    await until('a has what b sent', () => a.frames.length === 1);
    expect(b.frames.map(formatFrame)).toEqual(texts);
    expect(c.frames.map(formatFrame).filter((text) => text !== '456#01')).toEqual(texts);
    expect(a.frames.map(formatFrame)).toEqual(['456#01']);
    expect(a.bus.stats).toMatchObject({ framesSent: texts.length, framesReceived: 1, framesDropped: 0 });
    expect(b.bus.stats).toMatchObject({ framesSent: 1, framesReceived: texts.length });
    expect(a.bus.stats.bits).toBeGreaterThan(0);
  });

  it('stamps a frame with its own clock, whatever its sender says', async () => {
    await serve();
    const [a, b] = [await joinBus(), await joinBus()];
    a.bus.send(dataFrame(1, [], { timeUs: 42 }));
    await until('b has it', () => b.frames.length === 1);
    expect(Math.abs(b.frames[0]!.timeUs / 1000 - Date.now())).toBeLessThan(60_000);
  });

  it('carries more than a batch at once, without loss', async () => {
    await serve();
    const [a, b] = [await joinBus(), await joinBus()];
    for (let i = 0; i < 3000; i++) a.bus.send(dataFrame(i % 0x800, [i & 255, i >> 8]));
    await until('b has them', () => b.frames.length === 3000);
    expect(b.frames.every((frame, i) => frame.data[0] === (i & 255) && frame.data[1] === i >> 8)).toBe(true);
  });

  it('refuses what is no frame before it reaches the bus', async () => {
    await serve();
    const { bus } = await joinBus();
    const bad = { ...dataFrame(1, []), id: 0x800 };
    expect(() => bus.send(bad)).toThrow(expect.objectContaining({ code: ErrorCode.BadCanFrame }));
    expect(() => bus.send(parseFrameText('20000004#0000000000000000'))).toThrow(
      expect.objectContaining({ code: ErrorCode.BadCanFrame }),
    );
  });

  it('says where no bus is, and how to start one', async () => {
    await expect(makeBus().start()).rejects.toMatchObject({
      code: ErrorCode.BusUnavailable,
      message: expect.stringContaining(`start one with: kerb can bus --socket ${socketPath}`),
    });
  });

  it('is down before start and after stop, and says so when asked to send', async () => {
    await serve();
    const bus = makeBus();
    expect(bus.state).toEqual({ state: 'Down', reason: 'not started' });
    expect(() => bus.send(dataFrame(1, []))).toThrow(expect.objectContaining({ code: ErrorCode.BusDown }));
    await bus.start();
    expect(bus.state).toEqual({ state: 'Up' });
    await bus.stop();
    await bus.stop();
    expect(bus.state).toEqual({ state: 'Down', reason: 'stopped' });
  });

  it('delivers what was sent right before stop', async () => {
    await serve();
    const [a, b] = [await joinBus(), await joinBus()];
    a.bus.send(dataFrame(7, [1]));
    await a.bus.stop();
    await until('b has it', () => b.frames.length === 1);
  });

  it('can be stopped in the middle of start', async () => {
    // It accepts and never says hello.
    const silent = createServer((socket) => void socket.resume()).listen(socketPath);
    closing.push(() => new Promise((resolve) => silent.close(() => resolve())));
    const bus = makeBus();
    const starting = expect(bus.start()).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    await sleep(20);
    await bus.stop();
    await starting;
  });

  it('comes back by itself when the bus does', async () => {
    const first = await serve();
    const { bus, frames } = await joinBus();
    const states: string[] = [];
    bus.onState(({ state }) => states.push(state));
    await first.stop();
    await until('it is down', () => bus.state.state === 'Down');
    expect(() => bus.send(dataFrame(1, []))).toThrow(expect.objectContaining({ code: ErrorCode.BusDown }));
    await serve();
    await until('it is up', () => bus.state.state === 'Up');
    const other = await joinBus();
    other.bus.send(dataFrame(5, []));
    await until('frames arrive again', () => frames.length === 1);
    expect(states[0]).toBe('Down');
    expect(states.at(-1)).toBe('Up');
  });
});

describe('the server of the userspace bus', () => {
  it('replaces a socket that a dead server left behind', async () => {
    // A server that dies without cleaning up: its socket is a file that nobody listens on.
    const { spawnSync } = await import('node:child_process');
    spawnSync(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    expect(await readdir(folder)).toEqual(['bus.sock']);
    await serve();
    await joinBus();
  });

  it('does not take the place of a server that lives', async () => {
    await serve();
    const second = new UserspaceBusServer({ socketPath, name: 'can0', log: silentLog() });
    await expect(second.start()).rejects.toMatchObject({
      code: ErrorCode.BusUnavailable,
      message: expect.stringContaining('another bus is served there already'),
    });
    await joinBus();
  });

  it('does not remove a file that is no socket', async () => {
    await writeFile(socketPath, 'precious');
    const server = new UserspaceBusServer({ socketPath, name: 'can0', log: silentLog() });
    await expect(server.start()).rejects.toMatchObject({ message: expect.stringContaining('is not a socket') });
    expect(await readdir(folder)).toEqual(['bus.sock']);
  });

  it('says that a path is too long for a socket', async () => {
    const server = new UserspaceBusServer({ socketPath: `/${'x'.repeat(200)}`, name: 'can0', log: silentLog() });
    await expect(server.start()).rejects.toMatchObject({ message: expect.stringContaining('107 bytes') });
  });

  it('leaves nothing behind', async () => {
    const server = await serve();
    await server.stop();
    await server.stop();
    expect(await readdir(folder)).toEqual([]);
  });

  const badMagic = record(dataFrame(1, []));
  badMagic[0] = 0;
  const badLength = record(dataFrame(1, [1]));
  badLength[3] = 200;
  const badId = record(dataFrame(1, [1]));
  badId.writeUInt32LE(0xffffffff, 4);
  const badFlags = record(dataFrame(1, [1]));
  badFlags[2] = 0xff;
  const badVersion = encodeHello('x');
  badVersion[2] = 9;
  it.each([
    ['garbage instead of a hello', [Buffer.alloc(400, 'GET / HTTP/1.1\r\n')]],
    ['a frame before the hello', [record(dataFrame(1, []))]],
    ['another version', [badVersion]],
    ['a second hello', [encodeHello('x'), encodeHello('x')]],
    ['a wrong magic', [encodeHello('x'), badMagic]],
    ['a length beyond the frame', [encodeHello('x'), badLength]],
    ['an id of 32 bits', [encodeHello('x'), badId]],
    ['unknown flags', [encodeHello('x'), badFlags]],
  ])('ends a program that sends %s, and no other', async (_, bytes) => {
    await serve();
    const [a, b] = [await joinBus(), await joinBus()];
    const hostile = await rawClient(...bytes);
    await hostile.closed;
    a.bus.send(dataFrame(0x55, [1]));
    await until('b has the frame', () => b.frames.length > 0);
    expect(b.frames.map(formatFrame)).toEqual(['055#01']);
    expect(a.bus.state.state).toBe('Up');
  });

  it('delivers the good frames that came before a bad record', async () => {
    await serve();
    const { frames } = await joinBus();
    const hostile = await rawClient(encodeHello('x'), Buffer.concat([record(dataFrame(0x77, [])), badMagic]));
    await hostile.closed;
    await until('it is there', () => frames.length === 1);
    expect(frames[0]!.id).toBe(0x77);
  });

  it('puts records together that come in pieces', async () => {
    await serve();
    const { frames } = await joinBus();
    const { socket } = await rawClient(encodeHello('slow'));
    const bytes = Buffer.concat([1, 2, 3].map((id) => record(dataFrame(id, [id]))));
    for (let at = 0; at < bytes.length; at += 7) {
      socket.write(bytes.subarray(at, at + 7));
      await sleep(1);
    }
    await until('all are there', () => frames.length === 3);
    expect(frames.map(({ id }) => id)).toEqual([1, 2, 3]);
  });

  it('drops the oldest frames of a slow reader, tells it how many, and slows nobody else', async () => {
    const server = await serve();
    const slow = await rawClient(encodeHello('slow'));
    await until('it was greeted', () => slow.received().length >= RECORD_SIZE);
    slow.socket.pause();
    const [a, b] = [await joinBus(), await joinBus()];
    const total = 20_000;
    for (let i = 0; i < total; i += 200) {
      for (let k = 0; k < 200; k++) a.bus.send(dataFrame((i + k) & 0x7ff, [(i + k) & 255, (i + k) >> 8]));
      await until('b keeps up', () => b.frames.length >= i);
    }
    await until('b has all', () => b.frames.length === total);
    expect(b.bus.stats.framesDropped).toBe(0);
    const known = server.clients.find(({ name }) => name === 'slow')!;
    expect(known.framesDropped).toBeGreaterThan(0);
    slow.socket.resume();
    const counted = () => {
      const bytes = slow.received();
      let frames = 0;
      let dropped = 0;
      let last = -1;
      for (let at = RECORD_SIZE; at + RECORD_SIZE <= bytes.length; at += RECORD_SIZE) {
        if (bytes[at + 1] === RecordType.Dropped) dropped = droppedTotal(bytes, at);
        else {
          frames++;
          last = bytes[at + 16]! + 256 * bytes[at + 17]!;
        }
      }
      return { frames, dropped, last };
    };
    await until('frames and losses add up', () => counted().frames + counted().dropped === total);
    expect(counted().dropped).toBe(known.framesDropped);
    expect(counted().last).toBe((total - 1) & 0xffff);
  });
});

describe('a bus that reads nothing', () => {
  it('takes no more frames at some point, and those that it never got are counted when it goes', async () => {
    const sockets: Socket[] = [];
    const deaf = createServer((socket) => {
      sockets.push(socket.pause());
      socket.write(encodeHello('can0'));
    }).listen(socketPath);
    closing.push(() => new Promise((resolve) => deaf.close(() => resolve())));
    const bus = makeBus();
    await bus.start();
    let sent = 0;
    const fill = async () => {
      for (;;) {
        bus.send(dataFrame(0x123, [1]));
        if (++sent % 1000 === 0) await sleep(0);
      }
    };
    await expect(fill()).rejects.toMatchObject({ code: ErrorCode.BusWriteFailed });
    for (const socket of sockets) socket.destroy();
    await until('the loss is counted', () => bus.stats.framesDropped > 0);
    expect(bus.stats.framesDropped).toBeLessThanOrEqual(sent);
    expect(bus.stats.framesSent).toBe(sent);
  });
});

describe('a bus that is none', () => {
  it('is left alone when it answers something else', async () => {
    const other = createServer((socket) => {
      socket.resume().end('HTTP/1.1 400 Bad Request\r\n'.repeat(10));
    }).listen(socketPath);
    closing.push(() => new Promise((resolve) => other.close(() => resolve())));
    await expect(makeBus().start()).rejects.toMatchObject({
      code: ErrorCode.BusUnavailable,
      message: expect.stringContaining('what answers is not a Kerbside CAN bus'),
    });
  });
});

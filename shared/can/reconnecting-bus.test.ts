import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Buses } from '../../obu/can/buses.ts';
import { ErrorCode } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { reasonOf } from './bus.ts';
import { formatFrame, parseFrameText } from './candump.ts';
import { ReconnectingBus } from './reconnecting-bus.ts';
import { UserspaceBus } from './userspace/userspace-bus.ts';
import { encodeFrame, encodeHello, RECORD_SIZE } from './userspace/userspace-protocol.ts';
import { UserspaceBusServer } from './userspace/userspace-server.ts';

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

async function join0(): Promise<UserspaceBus> {
  const bus = new UserspaceBus({ name: 'can0', socketPath, client: 'other', log: silentLog() });
  await bus.start();
  closing.push(() => bus.stop());
  return bus;
}

function makePatient(kind: 'auto' | 'userspace' = 'userspace'): ReconnectingBus {
  const bus = new ReconnectingBus({ name: 'can0', kind, socketPath });
  closing.push(() => bus.stop());
  return bus;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

/** Error frames, from a program that stands for a controller: our own never send them. */
async function controllerSays(...texts: string[]): Promise<void> {
  const socket = createConnection(socketPath);
  closing.push(async () => void socket.destroy());
  socket.write(Buffer.concat([encodeHello('controller'), records(...texts)]));
}

describe('a bus that is not there when it is started', () => {
  it('is down with the reason, and up by itself when it comes', async () => {
    const bus = makePatient();
    const states: string[] = [];
    bus.onState(({ state }) => states.push(state));
    const frames: string[] = [];
    bus.subscribe((frame) => frames.push(formatFrame(frame)));
    await bus.start();
    expect(bus.kind).toBe('userspace');
    expect(bus.state).toMatchObject({ state: 'Down', reason: expect.stringMatching(/start one with: kerb can bus/) });
    expect(() => bus.send(parseFrameText('123#'))).toThrow(expect.objectContaining({ code: ErrorCode.BusDown }));
    await serve();
    await until(() => bus.state.state === 'Up');
    const other = await join0();
    const theirs: string[] = [];
    other.subscribe((frame) => theirs.push(formatFrame(frame)));
    other.send(parseFrameText('123#11'));
    bus.send(parseFrameText('124#22'));
    await until(() => frames.length === 1 && theirs.length === 1);
    expect([frames, theirs, states]).toEqual([['123#11'], ['124#22'], ['Down', 'Up']]);
    expect(bus.stats).toMatchObject({ framesReceived: 1, framesSent: 1, errorFrames: 0 });
  });

  it('says of an automatic one what it looked for', async () => {
    const bus = makePatient('auto');
    await bus.start();
    expect(reasonOf(bus.state)).toMatch(/the kernel has no CAN interface of that name/);
  });

  it('can be stopped while it waits', async () => {
    const bus = makePatient();
    await bus.start();
    await bus.stop();
    await bus.stop();
    await serve();
    await sleep(50);
    expect(bus.state).toEqual({ state: 'Down', reason: 'stopped' });
  });
});

describe('a bus with a failing controller', () => {
  it('tells its state, refuses to send while it is off, and is back with the first frame', async () => {
    await serve();
    const bus = makePatient();
    const states: string[] = [];
    bus.onState(({ state }) => states.push(state));
    const errors: string[] = [];
    bus.subscribe((frame) => frame.err && errors.push(formatFrame(frame)));
    await bus.start();
    await controllerSays('20000004#0008000000006000', '20000204#0021000000008800');
    await until(() => bus.state.state === 'Passive');
    expect(reasonOf(bus.state)).toMatch(/error passive \(errors counted: 136 sending/);
    bus.send(parseFrameText('124#22'));
    await controllerSays('20000040#0000000000000000');
    await until(() => bus.state.state === 'BusOff');
    expect(() => bus.send(parseFrameText('124#22'))).toThrow(
      expect.objectContaining({ code: ErrorCode.BusDown, message: expect.stringMatching(/^can0 is off: .*bus-off/) }),
    );
    expect(bus.stats).toMatchObject({ errorFrames: 3, framesReceived: 0, framesDropped: 1 });
    await controllerSays('123#11');
    await until(() => bus.state.state === 'Up');
    await controllerSays('20000040#0000000000000000', '20000100#0000000000000000');
    await until(() => bus.stats.errorFrames === 5);
    bus.send(parseFrameText('124#22'));
    expect(states).toEqual(['Up', 'Warning', 'Passive', 'BusOff', 'Up', 'BusOff', 'Up']);
    expect(errors).toHaveLength(5);
  });
});

/** A bus whose every word is the test's: it gives away the connections that come. */
async function serveByHand(): Promise<{ next: () => Promise<Socket> }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.resume();
    sockets.push(socket);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  closing.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  let taken = 0;
  const next = async () => {
    await until(() => sockets.length > taken);
    return sockets[taken++]!;
  };
  return { next };
}

function records(...texts: string[]): Buffer {
  return Buffer.concat(
    texts.map((text) => {
      const record = Buffer.alloc(RECORD_SIZE);
      encodeFrame(parseFrameText(text), record, 0);
      return record;
    }),
  );
}

/** Everything that one who listens to a bus sees, in order. */
function watch(bus: ReconnectingBus): string[] {
  const seen: string[] = [];
  bus.onState((state) => seen.push(state.state === 'Down' ? `Down: ${state.reason}` : state.state));
  bus.subscribe((frame) => seen.push(formatFrame(frame)));
  return seen;
}

describe('the bus behind it', () => {
  it('delivers the frames that are on their way while it is attached, each once, after the bus is up', async () => {
    const bus = makePatient();
    const seen = watch(bus);
    await bus.start();
    expect(bus.stats).toEqual({ framesReceived: 0, framesSent: 0, framesDropped: 0, errorFrames: 0, bits: 0 });
    seen.length = 0;
    const { next } = await serveByHand();
    (await next()).write(Buffer.concat([encodeHello('can0'), records('101#', '102#', '103#')]));
    await until(() => seen.length >= 4);
    expect(seen).toEqual(['Up', '101#', '102#', '103#']);
    expect(bus.stats).toMatchObject({ framesReceived: 3, framesDropped: 0 });
  });

  it('keeps its subscribers and its counts when a bus that was there goes away and comes back', async () => {
    const { next } = await serveByHand();
    const bus = makePatient();
    const seen = watch(bus);
    const starting = bus.start();
    const first = await next();
    first.write(Buffer.concat([encodeHello('can0'), records('101#')]));
    await starting;
    await until(() => seen.length === 2);
    first.destroy();
    await until(() => seen.length === 3);
    (await next()).write(Buffer.concat([encodeHello('can0'), records('102#')]));
    await until(() => seen.length === 5);
    // On a busy machine the kernel's word comes before the end of the stream.
    const down = expect.stringMatching(/^Down: (the bus disconnected|read ECONNRESET) \(.*bus\.sock\)$/);
    expect(seen).toEqual(['Up', '101#', down, 'Up', '102#']);
    expect(bus.stats).toMatchObject({ framesReceived: 2, framesSent: 0, framesDropped: 0 });
  });

  it('tells no state of attempts that fail but the reason, once', async () => {
    const { next } = await serveByHand();
    const bus = makePatient();
    const seen = watch(bus);
    const starting = bus.start();
    // A frame before the greeting: it is no CAN bus, and its frame is not one of ours.
    (await next()).write(records('101#'));
    await starting;
    expect(seen).toEqual([
      expect.stringMatching(/^Down: cannot join CAN bus can0: what answers is not a Kerbside CAN bus/),
    ]);
    expect(bus.stats.framesReceived).toBe(0);
    expect(() => bus.send(parseFrameText('123#'))).toThrow(expect.objectContaining({ code: ErrorCode.BusDown }));
    (await next()).write(records('101#'));
    (await next()).write(Buffer.concat([encodeHello('can0'), records('102#')]));
    await until(() => seen.length === 3);
    expect(seen.slice(1)).toEqual(['Up', '102#']);
  });

  it('counts what was sent to a bus that dies as sent and as lost', async () => {
    const { next } = await serveByHand();
    const bus = makePatient();
    const seen = watch(bus);
    const starting = bus.start();
    const socket = await next();
    socket.write(encodeHello('can0'));
    await starting;
    socket.pause();
    // Until nothing more fits, in the kernel nor here: what waits here when the bus dies has not reached it.
    const full = await new Promise<unknown>((resolve) => {
      const send = () => {
        try {
          for (let i = 0; i < 100; i++) bus.send(parseFrameText('123#'));
          setImmediate(send);
        } catch (error) {
          resolve(error);
        }
      };
      send();
    });
    expect(full).toMatchObject({ code: ErrorCode.BusWriteFailed });
    const { framesSent } = bus.stats;
    socket.destroy();
    await until(() => bus.state.state === 'Down' && bus.stats.framesDropped > 0);
    expect(() => bus.send(parseFrameText('123#'))).toThrow(expect.objectContaining({ code: ErrorCode.BusDown }));
    expect(bus.stats).toMatchObject({ framesSent, framesReceived: 0 });
    expect(bus.stats.framesDropped).toBeLessThanOrEqual(framesSent);
    expect(seen).toEqual(['Up', expect.stringMatching(/^Down: /)]);
  });

  it('can be stopped by a subscriber in the middle of frames, and delivers no other', async () => {
    const { next } = await serveByHand();
    const bus = makePatient();
    const seen = watch(bus);
    let stopping: Promise<void> | undefined;
    bus.subscribe(({ id }) => {
      if (id === 0x102) stopping = bus.stop();
    });
    const starting = bus.start();
    (await next()).write(Buffer.concat([encodeHello('can0'), records('101#', '102#', '103#')]));
    await starting;
    await until(() => stopping !== undefined);
    await stopping;
    expect(seen).toEqual(['Up', '101#', '102#', 'Down: stopped']);
    expect(bus.stats.framesReceived).toBe(2);
    expect(() => bus.send(parseFrameText('123#'))).toThrow(expect.objectContaining({ code: ErrorCode.BusDown }));
  });

  it('can be stopped while it is being attached, and is not up afterwards', async () => {
    const { next } = await serveByHand();
    const bus = makePatient();
    const seen = watch(bus);
    const starting = bus.start();
    const socket = await next();
    await bus.stop();
    await starting;
    socket.write(encodeHello('can0'), () => undefined);
    await sleep(20);
    expect(seen).toEqual(['Down: stopped']);
    expect(bus.state).toEqual({ state: 'Down', reason: 'stopped' });
  });
});

describe('the buses of an OBU', () => {
  it('start without one that is missing, and name it', async () => {
    await serve();
    const troubles: [string, number, string][] = [];
    const config = (name: string, socket: string) =>
      ({ name, kind: 'userspace', interface: undefined, socket, bitrate: 500_000 }) as const;
    const buses = new Buses({
      configs: [config('can0', socketPath), config('can1', join(folder, 'none.sock'))],
      client: 'test',
      onTrouble: (...trouble) => troubles.push(trouble),
      log: silentLog(),
    });
    closing.push(() => buses.stop());
    await buses.start();
    expect(buses.all.map(({ bus }) => bus.state.state)).toEqual(['Up', 'Down']);
    expect([...buses.routers.keys()]).toEqual(['can0', 'can1']);
    expect(troubles).toEqual([['can1', ErrorCode.BusDown, expect.stringMatching(/none\.sock/)]]);
    await controllerSays('20000004#0008000000006000');
    await until(() => troubles.length === 2);
    expect(troubles[1]).toEqual(['can0', ErrorCode.BusErrors, expect.stringMatching(/counts many errors/)]);
  });
});

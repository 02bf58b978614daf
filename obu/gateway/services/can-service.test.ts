import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connect, type Obu } from '../../../shared/app-sdk/index.ts';
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { canRead, HandObu, noGrants, workload } from '../../../test/support/gateway-parts.ts';
import type { StoredCanGrant } from '../../manifest/stored-grants.ts';
import { MAX_SEND } from './can-service.ts';

let obu: HandObu;
const clients: Obu[] = [];

beforeEach(() => {
  obu = new HandObu();
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await obu.close();
});

const writer: StoredCanGrant = {
  bus: 'can0',
  read: ['0:0'],
  write: [
    { id: 0x3e9, ext: false, length: 2, maxPerSecond: 5 },
    { id: 0x3ea, ext: false, length: undefined, maxPerSecond: undefined },
  ],
  as: 'socket',
  when: undefined,
};

async function app(name: string, ...can: StoredCanGrant[]): Promise<Obu> {
  const { path } = await obu.serve(workload(name, { ...noGrants, can }));
  const client = await connect({ path });
  clients.push(client);
  return client;
}

function collect(client: Obu): number[] {
  const ids: number[] = [];
  void (async () => {
    for await (const { frames } of client.can({ bus: 'can0' })) ids.push(...frames.map(({ id }) => id));
  })();
  return ids;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

const two = Uint8Array.of(1, 2);

describe('a workload that may write', () => {
  it('is told what it may write', async () => {
    const client = await app('app', { ...writer, when: 'Vehicle.Speed < 5' }, canRead('can1', '1:7'));
    expect(client.grants.can).toEqual([{ ...writer, when: 'Vehicle.Speed < 5' }, canRead('can1', '1:7')]);
  });

  it('puts frames on the bus in order, for everybody but itself', async () => {
    const [a, b] = [await app('a', writer), await app('b', writer)];
    const [seenByA, seenByB] = [collect(a), collect(b)];
    // Requests of one connection are handled in order: once these are answered, the subscriptions are open.
    for (const client of [a, b]) await client.sendCan('can0', []);
    await a.sendCan('can0', [
      { id: 0x3e9, data: two },
      { id: 0x3ea, data: new Uint8Array(64), fd: true, brs: true },
    ]);
    obu.bus.deliver(0x55);
    await until(() => seenByB.length === 3 && seenByA.length === 1);
    expect(seenByB).toEqual([0x3e9, 0x3ea, 0x55]);
    expect(seenByA).toEqual([0x55]);
    expect(obu.bus.sent.map(({ id, fd, brs, data }) => [id, fd, brs, data.length])).toEqual([
      [0x3e9, false, false, 2],
      [0x3ea, true, true, 64],
    ]);
    expect(obu.bus.sent[0]!.timeUs).toBeGreaterThan(1.6e15);
  });

  it('is told of the first frame that is denied; those before it are on the bus, those after it are not', async () => {
    const client = await app('app', writer);
    const sending = client.sendCan('can0', [
      { id: 0x3e9, data: two },
      { id: 0x3e9, data: Uint8Array.of(1) },
      { id: 0x3ea, data: two },
    ]);
    await expect(sending).rejects.toMatchObject({
      code: ErrorCode.CanWriteWrongLength,
      message: expect.stringMatching(/it has 1 bytes.*\(frame 2 of 3; 1 before it are on the bus\)$/),
    });
    expect(obu.bus.sent.map(({ id }) => id)).toEqual([0x3e9]);
    expect(obu.denied).toEqual(['app length']);
  });

  it('is held to its rate over all its connections, and learns when to try again', async () => {
    const { path } = await obu.serve(workload('app', { ...noGrants, can: [writer] }));
    const both = await Promise.all([connect({ path }), connect({ path })]);
    clients.push(...both);
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => both[i % 2]!.sendCan('can0', [{ id: 0x3e9, data: two }])),
    );
    const failed = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as KerbError] : []));
    expect(obu.bus.sent.length).toBe(20 - failed.length);
    expect(failed.length).toBeGreaterThan(10);
    for (const error of failed) {
      expect(error).toMatchObject({ code: ErrorCode.CanWriteTooFast, context: { retryAfterMs: expect.any(Number) } });
    }
    expect(obu.denied).toEqual(failed.map(() => 'app rate'));
  });

  it('may write only while its condition holds', async () => {
    const client = await app('app', { ...writer, when: 'Vehicle.Cabin.Door.IsOpen == false' });
    const send = () => client.sendCan('can0', [{ id: 0x3ea, data: two }]);
    await expect(send()).rejects.toMatchObject({ code: ErrorCode.CanWriteNotNow });
    obu.signals.deliver({ path: 'Vehicle.Cabin.Door.IsOpen', value: false });
    await send();
    obu.signals.deliver({ path: 'Vehicle.Cabin.Door.IsOpen', value: true });
    await expect(send()).rejects.toMatchObject({
      message: expect.stringMatching(/Vehicle\.Cabin\.Door\.IsOpen is true/),
    });
    obu.signals.deliver({ path: 'Vehicle.Cabin.Door.IsOpen', value: false });
    obu.signals.lose();
    await expect(send()).rejects.toMatchObject({ code: ErrorCode.CanWriteNotNow });
    expect(obu.bus.sent).toHaveLength(1);
    expect(obu.denied).toEqual(['app condition', 'app condition', 'app condition']);
  });

  it('hears when the bus does not take a frame, which nobody then gets', async () => {
    const [client, other] = [await app('app', writer), await app('other', writer)];
    const seen = collect(other);
    await other.sendCan('can0', []);
    obu.bus.sendFailure = new KerbError(ErrorCode.BusWriteFailed, 'can0 did not take the frame: its queue is full');
    const frames = [0x3e9, 0x3ea].map((id) => ({ id, data: two }));
    await expect(client.sendCan('can0', frames)).rejects.toMatchObject({
      code: ErrorCode.BusWriteFailed,
      message: 'can0 did not take the frame: its queue is full (frame 1 of 2; 0 before it are on the bus)',
    });
    await client.sendCan('can0', [{ id: 0x3ea, data: two }]);
    await until(() => seen.length === 1);
    expect(seen).toEqual([0x3ea]);
    expect(obu.denied).toEqual([]);
  });
});

describe('a workload that may not', () => {
  it('write to a bus is refused, and the refusal names the grant', async () => {
    const client = await app('app', canRead('can0', '0:0'));
    for (const bus of ['can0', 'can1']) {
      await expect(client.sendCan(bus, [{ id: 1, data: two }])).rejects.toMatchObject({
        code: ErrorCode.NotGranted,
        message: expect.stringMatching(`workload app may not write to CAN bus "${bus}".*bus: ${bus}, write: `),
      });
    }
    expect(obu.bus.sent).toEqual([]);
    expect(obu.denied).toEqual(['app grant', 'app grant']);
  });

  it('write to a bus that the OBU has not is told so', async () => {
    const client = await app('app', { ...writer, bus: 'can7' });
    await expect(client.sendCan('can7', [{ id: 0x3ea, data: two }])).rejects.toMatchObject({
      code: ErrorCode.UnknownBus,
    });
  });

  it.each([
    ['an id that is too large', { id: 0x800, ext: false, data: two }],
    ['an id that is no number', { id: Number.NaN, data: two }],
    ['nine bytes', { id: 0x3ea, data: new Uint8Array(9) }],
    ['a length that FD does not have', { id: 0x3ea, fd: true, data: new Uint8Array(9) }],
  ])('send %s, which is no frame', async (_what, frame) => {
    const client = await app('app', writer);
    await expect(client.sendCan('can0', [frame])).rejects.toMatchObject({ code: ErrorCode.BadCanFrame });
    expect(obu.bus.sent).toEqual([]);
  });

  it('send more frames at once than a message may have', async () => {
    const client = await app('app', writer);
    const frames = Array.from({ length: MAX_SEND + 1 }, () => ({ id: 0x3ea, data: two }));
    await expect(client.sendCan('can0', frames)).rejects.toMatchObject({ code: ErrorCode.TooManyRequests });
    expect(obu.bus.sent).toEqual([]);
  });

  it('send later what it could not send now', async () => {
    const { path, gateway } = await obu.serve(workload('app', { ...noGrants, can: [writer] }));
    const client = await connect({ path });
    clients.push(client);
    await gateway.stop();
    const send = () => client.sendCan('can0', [{ id: 0x3ea, data: two }]);
    const [first] = await Promise.allSettled([send()]);
    expect(first).toMatchObject({ reason: { code: ErrorCode.ConnectionLost } });
    await obu.serve(workload('app', { ...noGrants, can: [writer] }));
    for (;;) {
      const [again] = await Promise.allSettled([send()]);
      if (again.status === 'fulfilled') break;
      expect(again.reason).toMatchObject({ code: ErrorCode.ConnectionLost });
      await sleep(20);
    }
    expect(obu.bus.sent).toHaveLength(1);
  });
});

describe('a workload that reads a bus', () => {
  it('is told when it goes down and comes back, and at once when it is down already', async () => {
    const reason = 'the interface was removed';
    const client = await app('app', writer);
    const batches = client.can({ bus: 'can0' })[Symbol.asyncIterator]();
    const first = batches.next();
    await client.sendCan('can0', []);
    obu.bus.deliver(0x55);
    expect((await first).value).toMatchObject({ frames: [{ id: 0x55 }], state: undefined });
    obu.bus.enter({ state: 'Down', reason });
    expect((await batches.next()).value).toMatchObject({ frames: [], state: { state: 'Down', reason } });
    for await (const { frames, state } of client.can({ bus: 'can0' })) {
      expect([frames, state]).toEqual([[], { state: 'Down', reason }]);
      break;
    }
    obu.bus.enter({ state: 'Up' });
    expect((await batches.next()).value).toMatchObject({ frames: [], state: { state: 'Up', reason: '' } });
    client.close();
    await until(() => obu.bus.stateListeners.size === 0);
  });
});

describe('a bad neighbour', () => {
  it('that writes as fast as it can is denied and named, and the others are served as before', async () => {
    const [flooder, reader] = [await app('flooder', writer), await app('reader', writer)];
    const seen = collect(reader);
    await reader.sendCan('can0', []);
    const flood = Array.from({ length: 2000 }, () => flooder.sendCan('can0', [{ id: 0x3e9, data: two }]));
    const outcomes = Promise.allSettled(flood);
    obu.bus.deliver(0x55);
    await reader.sendCan('can0', [{ id: 0x3ea, data: two }]);
    // Answered in the middle of the flood, and not behind it.
    expect(obu.denied.length).toBeLessThan(1990);
    const denied = (await outcomes).filter(({ status }) => status === 'rejected').length;
    expect(obu.denied).toEqual(Array.from({ length: denied }, () => 'flooder rate'));
    const fromFlooder = obu.bus.sent.filter(({ id }) => id === 0x3e9).length;
    expect(fromFlooder).toBe(2000 - denied);
    expect(new Set(obu.failures.map(({ workload: name }) => name))).toEqual(new Set(['flooder']));
    await until(() => seen.length === fromFlooder + 1);
    expect(seen).toContain(0x55);
  });
});

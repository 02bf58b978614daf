import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connect, type Obu } from '../../shared/app-sdk/index.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import {
  allGrants,
  canRead,
  DIGEST,
  frame,
  HandObu,
  noGrants,
  value,
  workload,
} from '../../test/support/gateway-parts.ts';
import { MAX_SUBSCRIPTIONS } from './open-requests.ts';

let obu: HandObu;
const clients: Obu[] = [];

beforeEach(() => {
  obu = new HandObu();
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await obu.close();
});

async function reach(path: string): Promise<Obu> {
  const client = await connect({ path });
  clients.push(client);
  return client;
}

async function workloadWith(grants = allGrants, name = 'app'): Promise<Obu> {
  return reach((await obu.serve(workload(name, grants))).path);
}

/** The first items of a stream, however they come. */
async function take<T>(stream: AsyncIterable<T>, count: number): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) if (items.push(item) >= count) break;
  return items;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

const refused = (code: number, message: RegExp) => ({ code, message: expect.stringMatching(message) });

describe('a gateway', () => {
  it('tells the workload who it is and what it may do', async () => {
    const app = await workloadWith();
    expect(app).toMatchObject({ workload: 'app', vehicle: 'car', obu: 'obu-1', grants: allGrants });
  });

  it('delivers the CAN frames that pass the granted and the asked filter, unchanged', async () => {
    const app = await workloadWith();
    const all = take(app.can({ bus: 'can0' }), 1);
    const some = take(app.can({ bus: 'can0', filters: ['102:7FF', '200:7FF'] }), 1);
    // Requests are handled in order: when this one is answered, both subscriptions are open.
    await app.offload('dashcam-filter', Buffer.of(1), { budgetMs: 400 });
    const special = frame(0x105, { ext: true, fd: true, brs: true, esi: true, data: new Uint8Array(64).fill(7) });
    obu.bus.deliver(0x101, 0x102, 0x200);
    for (const listener of obu.bus.listeners) listener(special);
    expect((await all)[0]).toEqual({ bus: 'can0', frames: [frame(0x101), frame(0x102), special].map(bytesAsBuffer) });
    expect((await some)[0]!.frames.map(({ id }) => id)).toEqual([0x102]);
  });

  it('delivers what is known of a signal at once, and then what comes', async () => {
    obu.signals.deliver(value('Vehicle.Speed', 50));
    const app = await workloadWith();
    const stream = app.signals(['Vehicle.Speed']);
    const iterator = stream[Symbol.asyncIterator]();
    expect((await iterator.next()).value).toMatchObject([{ path: 'Vehicle.Speed', value: 50, source: 'can0' }]);
    obu.signals.deliver(value('Vehicle.Speed', 51));
    expect((await iterator.next()).value).toMatchObject([{ value: 51 }]);
  });

  it('gives of a branch the granted leaves only, of every type', async () => {
    obu.signals.deliver(
      value('Vehicle.Cabin.Door.IsOpen', true),
      value('Vehicle.Speed', 0),
      value('Vehicle.Chassis.SteeringWheel.Angle', -3),
    );
    const app = await workloadWith();
    const [values] = await take(app.signals(['Vehicle']), 1);
    expect(values!.map(({ path, value: datum }) => [path, datum])).toEqual([
      ['Vehicle.Chassis.SteeringWheel.Angle', -3],
      ['Vehicle.Speed', 0],
    ]);
  });

  it('keeps an interval: at most one value of a path in it, and the latest one', async () => {
    obu.signals.deliver(value('Vehicle.Speed', 1));
    const app = await workloadWith();
    const iterator = app.signals(['Vehicle.Speed'], { minIntervalMs: 50 })[Symbol.asyncIterator]();
    await iterator.next();
    for (let speed = 2; speed <= 9; speed++) obu.signals.deliver(value('Vehicle.Speed', speed));
    expect((await iterator.next()).value).toMatchObject([{ value: 9 }]);
  });

  it('delivers pictures, at no more than the granted rate', async () => {
    const app = await workloadWith();
    const pictures = take(app.camera('front', { format: 'gray8', width: 4, height: 1, fps: 30 }), 1);
    await until(() => obu.camera.consumers.size === 1);
    expect([...obu.camera.consumers.values()]).toEqual([{ format: 'gray8', width: 4, height: 1, fps: 10 }]);
    obu.camera.deliver(7, Uint8Array.of(1, 2, 3, 4));
    expect((await pictures)[0]).toEqual({
      camera: 'front',
      sequence: 7,
      timeUs: 5,
      format: 'gray8',
      width: 4,
      height: 1,
      data: Buffer.of(1, 2, 3, 4),
    });
  });

  it('takes pictures at the granted rate when none is asked for', async () => {
    const app = await workloadWith();
    app.camera('front')[Symbol.asyncIterator]();
    await until(() => obu.camera.consumers.size === 1);
    expect([...obu.camera.consumers.values()]).toEqual([{ format: 'jpeg', width: 0, height: 0, fps: 10 }]);
  });

  it('ends a subscription when its loop is left or its signal fires', async () => {
    const app = await workloadWith();
    const pictures = take(app.camera('front'), 1);
    await until(() => obu.camera.consumers.size === 1);
    obu.camera.deliver(1, Uint8Array.of(1));
    await pictures;
    await until(() => obu.camera.consumers.size === 0);

    const abort = new AbortController();
    const loop = take(app.camera('front', { signal: abort.signal }), 1);
    await until(() => obu.camera.consumers.size === 1);
    abort.abort();
    expect(await loop).toEqual([]);
    await until(() => obu.camera.consumers.size === 0);
  });

  it('lets go of everything when the container goes away', async () => {
    const app = await workloadWith();
    void take(app.camera('front'), 1);
    void take(app.signals(['Vehicle.Speed']), 1);
    await until(() => obu.camera.consumers.size === 1 && obu.signals.listeners.size === 1);
    app.close();
    await until(() => obu.camera.consumers.size === 0 && obu.signals.listeners.size === 0);
  });

  it('offloads, and hands back output and receipt', async () => {
    const app = await workloadWith();
    const { output, receipt } = await app.offload('dashcam-filter', Buffer.from('abc'), { budgetMs: 400, id: 'one' });
    expect(Buffer.from(output).toString()).toBe('abc');
    expect(receipt).toEqual({
      place: 'broker:rsu-1',
      taskDigest: DIGEST,
      isolation: 'process',
      queueMs: 1,
      runMs: 2,
      totalMs: 4,
    });
    const [request] = obu.offloader.requests;
    expect(request).toMatchObject({ id: 'car/app/one', taskDigest: DIGEST, priority: 700 });
    expect(request!.deadline.originalMs).toBeLessThanOrEqual(400);
    expect(request!.deadline.originalMs).toBeGreaterThan(0);
  });
});

describe('a gateway refuses, and names the grant that it would take,', () => {
  it('a bus', async () => {
    const app = await workloadWith(noGrants);
    await expect(take(app.can({ bus: 'can0' }), 1)).rejects.toMatchObject(
      refused(ErrorCode.NotGranted, /workload app may not read CAN bus "can0".*x-obu\.grants\.can: \[\{ bus: can0/),
    );
  });

  it('a signal', async () => {
    const app = await workloadWith();
    await expect(take(app.signals(['Vehicle.Speed', 'Vehicle.Cabin']), 1)).rejects.toMatchObject(
      refused(ErrorCode.NotGranted, /x-obu\.grants\.signals: \["read:Vehicle\.Cabin"\]/),
    );
  });

  it('a camera', async () => {
    const app = await workloadWith(noGrants);
    await expect(take(app.camera('front'), 1)).rejects.toMatchObject(
      refused(ErrorCode.NotGranted, /x-obu\.grants\.cameras: \[\{ name: front/),
    );
  });

  it('a task', async () => {
    const app = await workloadWith();
    await expect(app.offload('aggregate', Buffer.of(1), { budgetMs: 100 })).rejects.toMatchObject(
      refused(ErrorCode.NotGranted, /x-obu\.grants\.offload: \{ tasks: \["dashcam-filter", "aggregate"\]/),
    );
  });

  it('a budget', async () => {
    const app = await workloadWith();
    await expect(app.offload('dashcam-filter', Buffer.of(1), { budgetMs: 900 })).rejects.toMatchObject(
      refused(ErrorCode.NotGranted, /x-obu\.grants\.offload\.maxBudgetMs: \d+ \(it is 500\)/),
    );
    expect(obu.offloader.requests).toEqual([]);
  });
});

describe('a gateway says so when', () => {
  it.each([
    ['a bus is granted that the OBU has not', { ...noGrants, can: [canRead('can7', '1:7')] }, ErrorCode.UnknownBus],
    ['a filter is bad', allGrants, ErrorCode.BadCanFilter],
  ])('%s', async (_what, grants, code) => {
    const app = await workloadWith(grants);
    const { bus } = grants.can[0]!;
    await expect(take(app.can({ bus, filters: ['nonsense'] }), 1)).rejects.toMatchObject({ code });
  });

  it('a camera is granted that the OBU has not', async () => {
    const app = await workloadWith({ ...noGrants, cameras: [{ name: 'rear', maxFps: 5 }] });
    await expect(take(app.camera('rear'), 1)).rejects.toMatchObject({ code: ErrorCode.UnknownCamera });
  });

  it.each([['read:Vehicle'], ['read:Vehicle.Speed']])('with %s a path is no signal of the vehicle', async (scope) => {
    const app = await workloadWith({ ...noGrants, signals: [scope] });
    await expect(take(app.signals(['Vehicle.Speeed']), 1)).rejects.toMatchObject({
      code: ErrorCode.UnknownSignal,
      message: expect.stringMatching(/^this OBU has no signal "Vehicle\.Speeed"/),
    });
  });

  it('a granted task has no digest', async () => {
    const app = await workloadWith({ ...noGrants, offload: { tasks: ['unknown'], maxBudgetMs: 500 } });
    await expect(app.offload('unknown', Buffer.of(1), { budgetMs: 100 })).rejects.toMatchObject({
      code: ErrorCode.UnknownTask,
    });
  });

  it('too many subscriptions are open, and goes on serving the others', async () => {
    obu.signals.deliver(value('Vehicle.Speed', 1));
    const app = await workloadWith();
    const open = Array.from({ length: MAX_SUBSCRIPTIONS }, () =>
      app.signals(['Vehicle.Speed'])[Symbol.asyncIterator](),
    );
    await Promise.all(open.map((iterator) => iterator.next()));
    await expect(take(app.signals(['Vehicle.Speed']), 1)).rejects.toMatchObject({ code: ErrorCode.TooManyRequests });
    const next = open[0]!.next();
    obu.signals.deliver(value('Vehicle.Speed', 2));
    expect((await next).value).toMatchObject([{ value: 2 }]);
  });

  it('an offload is refused, with the hint when to retry', async () => {
    const app = await workloadWith();
    obu.offloader.answer = async () => {
      throw new KerbError(ErrorCode.QueueFull, 'the queue of rsu-1 is full', { retryAfterMs: 40 });
    };
    await expect(app.offload('dashcam-filter', Buffer.of(1), { budgetMs: 100 })).rejects.toMatchObject({
      code: ErrorCode.QueueFull,
      message: 'the queue of rsu-1 is full',
      context: { retryAfterMs: 40 },
    });
    expect(obu.failures.map(({ error }) => error.code)).toEqual([ErrorCode.QueueFull]);
  });

  it('something in the OBU is broken, and stays up', async () => {
    const app = await workloadWith();
    obu.offloader.answer = async () => {
      throw new TypeError('x is not a function');
    };
    const failed = app.offload('dashcam-filter', Buffer.of(1), { budgetMs: 100 });
    await expect(failed).rejects.toMatchObject(refused(ErrorCode.GatewayDefect, /unexpected error in the OBU/));
  });
});

describe('an offload', () => {
  it('is run once for one id, while it is open and after it succeeded', async () => {
    const app = await workloadWith();
    const ask = () => app.offload('dashcam-filter', Buffer.from('x'), { budgetMs: 400, id: 'same' });
    const [first, second] = await Promise.all([ask(), ask()]);
    expect(second.output).toEqual(first.output);
    await ask();
    expect(obu.offloader.requests).toHaveLength(1);
  });

  it('is run again under its id when it failed', async () => {
    const app = await workloadWith();
    const { answer } = obu.offloader;
    obu.offloader.answer = async () => {
      throw new KerbError(ErrorCode.BrokerLost, 'gone');
    };
    const ask = () => app.offload('dashcam-filter', Buffer.from('x'), { budgetMs: 400, id: 'same' });
    await expect(ask()).rejects.toMatchObject({ code: ErrorCode.BrokerLost });
    obu.offloader.answer = answer;
    await ask();
    expect(obu.offloader.requests).toHaveLength(2);
  });

  it('may not share its id with another input', async () => {
    const app = await workloadWith();
    await app.offload('dashcam-filter', Buffer.from('x'), { budgetMs: 400, id: 'same' });
    await expect(app.offload('dashcam-filter', Buffer.from('y'), { budgetMs: 400, id: 'same' })).rejects.toMatchObject(
      refused(ErrorCode.BadGatewayRequest, /already in use/),
    );
  });

  it('does not share its id with another workload', async () => {
    const [a, b] = [await workloadWith(allGrants, 'a'), await workloadWith(allGrants, 'b')];
    await a.offload('dashcam-filter', Buffer.from('x'), { budgetMs: 400, id: 'same' });
    await b.offload('dashcam-filter', Buffer.from('y'), { budgetMs: 400, id: 'same' });
    expect(obu.offloader.requests.map(({ id }) => id)).toEqual(['car/a/same', 'car/b/same']);
  });

  it('ends within its budget on the side of the workload, when nobody answers', async () => {
    const app = await workloadWith();
    obu.offloader.answer = () => new Promise(() => {});
    await expect(app.offload('dashcam-filter', Buffer.of(1), { budgetMs: 50 })).rejects.toMatchObject(
      refused(ErrorCode.BudgetExhausted, /no answer within 50 ms/),
    );
  });

  it('can be cancelled', async () => {
    const app = await workloadWith();
    obu.offloader.answer = () => new Promise(() => {});
    const abort = new AbortController();
    const offload = app.offload('dashcam-filter', Buffer.of(1), { budgetMs: 400, signal: abort.signal });
    abort.abort();
    await expect(offload).rejects.toMatchObject({ code: ErrorCode.Cancelled });
  });

  it.each([0, -1, Number.NaN])('with a budget of %d is refused at once', async (budgetMs) => {
    const app = await workloadWith();
    await expect(app.offload('dashcam-filter', Buffer.of(1), { budgetMs })).rejects.toMatchObject({
      code: ErrorCode.BudgetExhausted,
    });
  });
});

describe('when the OBU restarts', () => {
  it('subscriptions and offloads go on by themselves', async () => {
    const { path, gateway } = await obu.serve(workload('app', allGrants));
    const app = await reach(path);
    const iterator = app.signals(['Vehicle.Speed'])[Symbol.asyncIterator]();
    const next = iterator.next();
    await until(() => obu.signals.listeners.size === 1);
    obu.offloader.answer = () => new Promise(() => {});
    const offload = app.offload('dashcam-filter', Buffer.from('x'), { budgetMs: 10_000, id: 'held' }).catch((e) => e);
    await gateway.stop();
    expect(existsSync(path)).toBe(false);

    await obu.serve(workload('app', { ...allGrants, offload: { tasks: ['dashcam-filter'], maxBudgetMs: 10_000 } }));
    await until(() => obu.signals.listeners.size === 1);
    obu.signals.deliver(value('Vehicle.Speed', 99));
    expect((await next).value).toMatchObject([{ value: 99 }]);
    app.close();
    expect(await offload).toMatchObject({ code: ErrorCode.Cancelled });
    expect(obu.offloader.requests.at(-1)).toMatchObject({ id: 'car/app/held' });
  });

  it('an offload fails within its budget while it is away, and says why', async () => {
    const { path, gateway } = await obu.serve(workload('app', allGrants));
    const app = await reach(path);
    await gateway.stop();
    await expect(app.offload('dashcam-filter', Buffer.of(1), { budgetMs: 100 })).rejects.toMatchObject(
      refused(ErrorCode.ConnectionLost, /no connection to the OBU/),
    );
  });

  it('connecting fails in time when nobody is there', async () => {
    await expect(connect({ path: '/nowhere/gateway.sock', timeoutMs: 100 })).rejects.toMatchObject(
      refused(ErrorCode.ConnectionLost, /\/nowhere\/gateway\.sock within 100 ms.*ENOENT/),
    );
  });
});

function bytesAsBuffer<T extends { data: Uint8Array }>(one: T): T {
  return { ...one, data: Buffer.from(one.data) };
}

import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import { HandObu, noGrants, workload } from '../../../test/support/gateway-parts.ts';
import { TestClient } from '../../../test/support/kuksa-client.ts';
import { GrantGuard } from '../../grants/grants.ts';
import { readGrants } from '../../manifest/stored-grants.ts';
import { SignalService } from '../services/signal-service.ts';
import { KuksaEndpoint } from './endpoint.ts';

let obu: HandObu;
const clients: TestClient[] = [];
const endings: (() => Promise<void>)[] = [];

beforeEach(() => {
  obu = new HandObu();
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const end of endings.splice(0)) await end();
  await obu.close();
});

const DOOR = 'Vehicle.Cabin.Door.IsOpen';
const ANGLE = 'Vehicle.Chassis.SteeringWheel.Angle';
const SPEED = 'Vehicle.Speed';
const HATCH = 'Vehicle.Cabin.Hatch.Position';
const at = (path: string) => ({ signalId: { path } });
const code = (wanted: status) => expect.objectContaining({ code: wanted });

async function serve(signals: string[], name = 'app') {
  return obu.serve(workload(name, { ...noGrants, signals }));
}

function reach(path: string, token?: string, options?: object): TestClient {
  const client = new TestClient(path, token, options);
  clients.push(client);
  return client;
}

async function programWith(...signals: string[]): Promise<TestClient> {
  return reach((await serve(signals)).path);
}

/** Guard, desk and endpoint without the gateway around them. */
async function serveAlone(signals: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'kerb-kuksa-'));
  const one = workload('alone', { ...noGrants, signals });
  const guard = new GrantGuard(one, {
    routers: new Map(),
    cameras: new Map(),
    tasks: new Map(),
    signals: obu.signals,
  });
  const desk = new SignalService('alone', guard, { signalLatency: () => {}, signalsDropped: () => {} });
  const endpoint = new KuksaEndpoint({
    workload: 'alone',
    folder,
    keepToken: false,
    service: desk,
    onDrop: () => {},
    onFailure: () => {},
    onCrowded: () => {},
    onDefect: (error) => expect.unreachable(String(error)),
  });
  await endpoint.start();
  endings.push(async () => {
    await endpoint.stop();
    await rm(folder, { recursive: true });
  });
  const regrant = (scopes: string[]) => {
    guard.regrant({ ...one, grants: readGrants({ ...noGrants, signals: scopes }) });
    desk.close();
    endpoint.regrant();
  };
  return { path: join(folder, 'gateway.sock'), regrant };
}

/** What comes on a stream: each next one, or the error that it ends with. */
function reader(stream: NodeJS.ReadableStream & AsyncIterable<unknown>) {
  const iterator = stream[Symbol.asyncIterator]();
  // biome-ignore lint/suspicious/noExplicitAny: as in test-client.ts
  return async (): Promise<any> => (await iterator.next()).value;
}

describe('a program that reads', () => {
  it('gets values with their time, in the field of their type, and none where there is none', async () => {
    const program = await programWith('read:Vehicle');
    expect(await program.call('GetValue', at(SPEED))).toMatchObject({ dataPoint: { timestamp: null, value: null } });
    obu.signals.deliver({ path: SPEED, value: 12.5 }, { path: DOOR, value: false }, { path: ANGLE, value: -3 });
    const { dataPoint } = await program.call('GetValue', at(SPEED));
    expect(dataPoint.value.float).toBe(12.5);
    expect(Math.abs(Number(dataPoint.timestamp.seconds) - Date.now() / 1000)).toBeLessThan(60);
    const { dataPoints } = await program.call('GetValues', {
      signalIds: [{ path: ANGLE }, { path: DOOR }, { id: 3 }],
    });
    expect(dataPoints.map(({ value }: { value: object }) => ({ ...value }))).toEqual([
      { int32: -3 },
      { bool: false },
      { float: 12.5 },
    ]);
  });

  it('gets no value of what is stale, and the time of the last one', async () => {
    const program = await programWith('read:Vehicle');
    obu.signals.deliver({ path: SPEED, value: 1 });
    obu.signals.lose();
    const { dataPoint } = await program.call('GetValue', at(SPEED));
    expect(dataPoint.value).toBeNull();
    expect(Number(dataPoint.timestamp.seconds)).toBeGreaterThan(0);
  });

  it.each([
    ['GetValue', {}, status.INVALID_ARGUMENT],
    ['GetValue', at(''), status.INVALID_ARGUMENT],
    ['GetValue', at('x'.repeat(1001)), status.INVALID_ARGUMENT],
    ['GetValue', at('Vehicle.No'), status.NOT_FOUND],
    ['GetValue', at('Vehicle'), status.NOT_FOUND],
    ['GetValue', { signalId: { id: 99 } }, status.NOT_FOUND],
    ['GetValue', { signalId: { id: -1 } }, status.NOT_FOUND],
    ['GetValue', at(DOOR), status.PERMISSION_DENIED],
    ['GetValues', { signalIds: [] }, status.INVALID_ARGUMENT],
    ['GetValues', { signalIds: [{ path: SPEED }, { path: DOOR }] }, status.PERMISSION_DENIED],
    ['ListMetadata', { root: 'Vehicle.No' }, status.NOT_FOUND],
    ['ListMetadata', { root: DOOR }, status.PERMISSION_DENIED],
    ['Actuate', { ...at(DOOR), value: { bool: true } }, status.PERMISSION_DENIED],
    ['PublishValue', { ...at(SPEED), dataPoint: { value: { float: 1 } } }, status.PERMISSION_DENIED],
    ['BatchActuate', {}, status.INVALID_ARGUMENT],
  ] as const)('%s %j is answered with the error of its kind', async (call, request, wanted) => {
    const program = await programWith('read:Vehicle.Speed');
    await expect(program.call(call, request)).rejects.toEqual(code(wanted));
    expect(obu.failures.length).toBe(1);
  });

  it('needs the token of its container, on every call', async () => {
    const { path } = await serve(['read:Vehicle']);
    const other = await serve(['read:Vehicle'], 'other');
    const others = readFileSync(join(dirname(other.path), 'token'), 'utf8');
    for (const token of ['', 'nonsense', others]) {
      const program = reach(path, token);
      await expect(program.call('GetValue', at(SPEED))).rejects.toEqual(code(status.UNAUTHENTICATED));
      await expect(program.call('GetServerInfo', {})).rejects.toEqual(code(status.UNAUTHENTICATED));
      await expect(reader(program.subscribe({ signalPaths: [SPEED] }))()).rejects.toEqual(code(status.UNAUTHENTICATED));
      await expect(reader(program.provide())()).rejects.toEqual(code(status.UNAUTHENTICATED));
      await expect(new Promise((_, reject) => program.actuateStream((error) => reject(error)))).rejects.toEqual(
        code(status.UNAUTHENTICATED),
      );
    }
    expect(await reach(path).call('GetServerInfo', {})).toMatchObject({ name: 'kerbside', version: '0.1.0' });
  });

  it('lists what VSS says of the leaves that it may read', async () => {
    const program = await programWith('read:Vehicle', '!read:Vehicle.Cabin');
    const all = await program.call('ListMetadata', { root: '' });
    expect(all.metadata.map(({ path, id }: { path: string; id: number }) => [path, id])).toEqual([
      [ANGLE, 2],
      [SPEED, 3],
    ]);
    const { metadata } = await program.call('ListMetadata', { root: 'Vehicle.Chassis' });
    expect(metadata[0]).toMatchObject({
      path: ANGLE,
      unit: 'degrees',
      dataType: 4,
      entryType: 2,
      min: { int32: -720 },
      max: { int32: 720 },
    });
    expect((await program.call('ListMetadata', { root: 'Vehicle.**' })).metadata).toHaveLength(2);
  });

  it.each([
    ['Vehicle.*', [SPEED]],
    ['**.Angle', [ANGLE]],
    ['Vehicle.**.Is*', [DOOR]],
    ['*.*.*.*', [DOOR, ANGLE]],
    ['**', [DOOR, ANGLE, SPEED]],
  ])('lists and subscribes to what "%s" means, by the rules of Kuksa', async (pattern, wanted) => {
    const program = await programWith('read:Vehicle');
    const { metadata } = await program.call('ListMetadata', { root: pattern });
    expect(metadata.map(({ path }: { path: string }) => path).sort()).toEqual([...wanted].sort());
    const { entries } = await reader(program.subscribe({ signalPaths: [pattern] }))();
    expect(Object.keys(entries).sort()).toEqual([...wanted].sort());
  });

  it.each([
    ['Vehicle.Cabin.Door.IsOpen.*', status.NOT_FOUND],
    ['**.Door', status.NOT_FOUND],
    ['Vehicle..Speed', status.INVALID_ARGUMENT],
    ['Vehicle.***', status.INVALID_ARGUMENT],
    ['Vehicle.Cabin.**', status.PERMISSION_DENIED],
  ])('refuses "%s"', async (pattern, wanted) => {
    const program = await programWith('read:Vehicle.Speed');
    await expect(program.call('ListMetadata', { root: pattern })).rejects.toEqual(code(wanted));
    await expect(reader(program.subscribe({ signalPaths: [pattern] }))()).rejects.toEqual(code(wanted));
  });

  it('gets of a pattern what it may read, and everything for nothing', async () => {
    const program = await programWith('read:Vehicle', '!read:Vehicle.Cabin');
    const { entries } = await reader(program.subscribe({ signalPaths: [''] }))();
    expect(Object.keys(entries).sort()).toEqual([ANGLE, SPEED]);
  });
});

describe('a program that subscribes', () => {
  it('gets all values at once, with none for what has none, then what comes, and what is stale', async () => {
    const program = await programWith('read:Vehicle');
    obu.signals.deliver({ path: SPEED, value: 1 });
    const next = reader(program.subscribe({ signalPaths: [SPEED, DOOR] }));
    const first = await next();
    expect(first.entries[SPEED].value.float).toBe(1);
    expect(first.entries[DOOR]).toMatchObject({ timestamp: null, value: null });
    obu.signals.deliver({ path: SPEED, value: 2 });
    expect((await next()).entries[SPEED].value.float).toBe(2);
    obu.signals.lose();
    expect((await next()).entries[SPEED]).toMatchObject({ value: null, timestamp: expect.anything() });
  });

  it('may name signals by number', async () => {
    const program = await programWith('read:Vehicle');
    const next = reader(program.subscribe({ signalIds: [3] }, 'SubscribeById'));
    await next();
    obu.signals.deliver({ path: SPEED, value: 7 });
    expect((await next()).entries[3].value.float).toBe(7);
  });

  it('gets at most one value in its interval, the latest', async () => {
    const program = await programWith('read:Vehicle');
    const filter = { minSampleInterval: { intervalMs: 40 } };
    const next = reader(program.subscribe({ signalPaths: [SPEED], filter }));
    await next();
    for (const value of [1, 2, 3, 4]) obu.signals.deliver({ path: SPEED, value });
    expect((await next()).entries[SPEED].value.float).toBe(1);
    expect((await next()).entries[SPEED].value.float).toBe(4);
  });

  it('is done when its time is over, or it leaves', async () => {
    const program = await programWith('read:Vehicle');
    const stream = program.subscribe({ signalPaths: [SPEED], filter: { durationMs: 30 } });
    stream.resume();
    await once(stream, 'end');
    while (obu.signals.listeners.size > 0) await sleep(5);
    const other = program.subscribe({ signalPaths: [SPEED] });
    other.on('error', () => {});
    other.resume();
    while (obu.signals.listeners.size === 0) await sleep(5);
    other.cancel();
    while (obu.signals.listeners.size > 0) await sleep(5);
  });

  it.each([
    [{ signalPaths: [] }, status.INVALID_ARGUMENT],
    [{ signalPaths: ['Vehicle.No'] }, status.NOT_FOUND],
    [{ signalPaths: [DOOR] }, status.PERMISSION_DENIED],
    [{ signalPaths: [SPEED], bufferSize: 1001 }, status.INVALID_ARGUMENT],
    [{ signalPaths: ['x'.repeat(1001)] }, status.INVALID_ARGUMENT],
  ])('is refused for %j', async (request, wanted) => {
    const program = await programWith('read:Vehicle.Speed');
    await expect(reader(program.subscribe(request))()).rejects.toEqual(code(wanted));
    expect(obu.signals.listeners.size).toBe(0);
  });

  it('and reads slowly gets the latest values in the end, and what it lost is counted', async () => {
    const { path } = await serve(['read:Vehicle']);
    const slow = reach(path);
    const fast = reach(path);
    const stream = slow.subscribe({ signalPaths: [SPEED] });
    stream.pause();
    const doors = reader(fast.subscribe({ signalPaths: [DOOR] }));
    await doors();
    while (obu.signals.listeners.size < 2) await sleep(5);
    let value = 0;
    while (obu.dropped.signals < 20_000) {
      for (let i = 0; i < 500; i++) obu.signals.deliver({ path: SPEED, value: ++value });
      await sleep(1);
    }
    obu.signals.deliver({ path: DOOR, value: true });
    expect((await doors()).entries[DOOR].value.bool).toBe(true);
    stream.on('error', () => {}); // when the client is closed
    let last = 0;
    // biome-ignore lint/suspicious/noExplicitAny: as in test-client.ts
    stream.on('data', ({ entries }: any) => {
      last = entries[SPEED].value?.float ?? 0;
    });
    stream.resume();
    while (last !== value) await sleep(5);
  });
});

describe('a program that writes', () => {
  const publish = (path: string, value: object) => ({ ...at(path), dataPoint: { value } });

  it('publishes values, of the type and within the limits of the leaf', async () => {
    const program = await programWith('provide:Vehicle.Chassis');
    await program.call('PublishValue', publish(ANGLE, { int32: 90 }));
    expect(obu.signals.get(ANGLE)).toMatchObject({ value: 90, source: 'app' });
    for (const value of [{ int32: 721 }, { float: 90 }, { string: '90' }, {}]) {
      await expect(program.call('PublishValue', publish(ANGLE, value))).rejects.toEqual(code(status.INVALID_ARGUMENT));
    }
    await expect(program.call('PublishValue', publish('Vehicle.No', { int32: 1 }))).rejects.toEqual(
      code(status.NOT_FOUND),
    );
    expect(obu.signals.get(ANGLE)).toMatchObject({ value: 90 });
  });

  it('sets actuators, and hears what became of it', async () => {
    const program = await programWith('actuate:Vehicle');
    const open = { ...at(DOOR), value: { bool: true } };
    await expect(program.call('Actuate', open)).rejects.toEqual(code(status.UNAVAILABLE));
    const doors = obu.signals.openProvider('doors');
    const asked: unknown[] = [];
    const end = doors.serve([DOOR], async (path, value) => void asked.push([path, value]));
    await program.call('Actuate', open);
    await program.call('BatchActuate', { actuateRequests: [open, { ...at(DOOR), value: { bool: false } }] });
    expect(asked.map((one) => (one as unknown[])[1])).toEqual([true, true, false]);
    const wrong = { ...at(DOOR), value: { string: 'open' } };
    await expect(program.call('Actuate', wrong)).rejects.toEqual(code(status.INVALID_ARGUMENT));
    await expect(program.call('BatchActuate', { actuateRequests: [open, wrong] })).rejects.toEqual(
      code(status.INVALID_ARGUMENT),
    );
    await expect(program.call('Actuate', { ...at(SPEED), value: { float: 1 } })).rejects.toEqual(
      code(status.INVALID_ARGUMENT),
    );
    expect(asked).toHaveLength(3);
    const done = new Promise((resolve) => program.actuateStream(resolve).end(open));
    expect(await done).toBeNull();
    const failed = new Promise((resolve) => program.actuateStream(resolve).write(wrong));
    expect(await failed).toEqual(code(status.INVALID_ARGUMENT));
    expect(asked).toHaveLength(4);
    end();
    doors.serve([DOOR], () => new Promise(() => {}));
    await expect(program.call('Actuate', open)).rejects.toEqual(code(status.DEADLINE_EXCEEDED));
  });

  it('serves actuators on a provider stream, and refuses what it does not want', async () => {
    const { path } = await serve(['provide:Vehicle.Cabin', 'actuate:Vehicle.Cabin']);
    const [provider, user] = [reach(path), reach(path)];
    const stream = provider.provide();
    const next = reader(stream);
    stream.write({ provideActuationRequest: { actuatorIdentifiers: [{ path: DOOR }] } });
    expect(await next()).toMatchObject({ provideActuationResponse: {} });
    const open = { ...at(DOOR), value: { bool: true } };
    const done = user.call('Actuate', open);
    const { batchActuateStreamRequest } = await next();
    expect(batchActuateStreamRequest.actuateRequests).toMatchObject([open]);
    stream.write({ batchActuateStreamResponse: { signalId: { path: DOOR } } });
    await done;
    const refused = user.call('Actuate', open);
    await next();
    stream.write({ batchActuateStreamResponse: { signalId: { path: DOOR }, error: { code: 2, message: 'jammed' } } });
    await expect(refused).rejects.toMatchObject({
      code: status.ABORTED,
      details: expect.stringContaining('jammed'),
    });
    // Somebody else cannot have it meanwhile, and when the stream ends nobody serves it.
    const second = user.provide();
    second.write({ provideActuationRequest: { actuatorIdentifiers: [{ path: DOOR }] } });
    await expect(reader(second)()).rejects.toEqual(code(status.ALREADY_EXISTS));
    const waiting = user.call('Actuate', open);
    await next();
    stream.end();
    await expect(waiting).rejects.toEqual(code(status.ABORTED));
    await expect(user.call('Actuate', open)).rejects.toEqual(code(status.UNAVAILABLE));
  });

  it('gets a batch of actuations in one message, however many they are, and answers one by one', async () => {
    await obu.close();
    obu = new HandObu(`${HATCH}: { datatype: uint8, type: actuator, max: 100 }\n`);
    const { path } = await serve(['provide:Vehicle.Cabin', 'actuate:Vehicle.Cabin']);
    const [provider, user] = [reach(path), reach(path)];
    const stream = provider.provide();
    const next = reader(stream);
    stream.write({ provideActuationRequest: { actuatorIdentifiers: [{ path: DOOR }, { path: HATCH }] } });
    await next();
    const one = (path: string, value: object) => ({ signalId: { path }, value });
    const two = [one(DOOR, { bool: true }), one(HATCH, { uint32: 7 })];
    const done = user.call('BatchActuate', { actuateRequests: two });
    const { batchActuateStreamRequest } = await next();
    expect(batchActuateStreamRequest.actuateRequests).toMatchObject(two);
    for (const { signalId } of two) stream.write({ batchActuateStreamResponse: { signalId } });
    await done;
    // More than a container may have under way one by one.
    const many = Array.from({ length: 12 }, (_, i) => one(HATCH, { uint32: i }));
    const all = user.call('BatchActuate', { actuateRequests: many });
    expect((await next()).batchActuateStreamRequest.actuateRequests).toMatchObject(many);
    for (const { signalId } of many) stream.write({ batchActuateStreamResponse: { signalId } });
    await all;
    const refused = user.call('BatchActuate', { actuateRequests: two });
    await next();
    stream.write({ batchActuateStreamResponse: { signalId: { path: DOOR } } });
    stream.write({ batchActuateStreamResponse: { signalId: { path: HATCH }, error: { code: 2, message: 'stuck' } } });
    await expect(refused).rejects.toEqual(code(status.ABORTED));
    // One that cannot be: the provider hears of none.
    const wrong = [two[0], one(HATCH, { uint32: 101 })];
    await expect(user.call('BatchActuate', { actuateRequests: wrong })).rejects.toEqual(code(status.INVALID_ARGUMENT));
    const last = user.call('Actuate', two[0]!);
    expect((await next()).batchActuateStreamRequest.actuateRequests).toMatchObject([two[0]]);
    stream.write({ batchActuateStreamResponse: { signalId: { path: DOOR } } });
    await last;
  });

  it('publishes a batch that a subscriber gets in one message', async () => {
    const program = await programWith('provide:Vehicle', 'read:Vehicle');
    const next = reader(program.subscribe({ signalPaths: ['Vehicle.**'] }));
    await next();
    const stream = program.provide();
    const idOf = Object.fromEntries(
      (await program.call('ListMetadata', { root: '' })).metadata.map(({ path, id }: { path: string; id: number }) => [
        ...[path, id],
      ]),
    );
    const dataPoints = {
      [idOf[DOOR]]: { value: { bool: true } },
      [idOf[ANGLE]]: { value: { int32: 5 } },
      [idOf[SPEED]]: { value: { string: 'fast' } },
    };
    stream.write({ publishValuesRequest: { requestId: 1, dataPoints } });
    const { entries } = await next();
    expect(Object.keys(entries).sort()).toEqual([DOOR, ANGLE]);
    const { publishValuesResponse } = await reader(stream)();
    expect(Object.keys(publishValuesResponse.status)).toEqual([String(idOf[SPEED])]);
  });

  it('and reads nothing on its provider stream holds up nobody', async () => {
    const { path } = await serve(['provide:Vehicle.Cabin', 'read:Vehicle']);
    // What lies between the two has room for few answers.
    const deaf = reach(path, undefined, { 'grpc-node.flow_control_window': 65_535 });
    const stream = deaf.provide();
    stream.on('error', () => {}); // when the client is closed
    // A client of grpc-js that has not begun to read keeps all that comes; one that has keeps a few messages.
    stream.read(0);
    stream.write({ provideActuationRequest: { actuatorIdentifiers: [{ path: DOOR }] } });
    // Each gives a value, and is answered with an error for each other signal in it. When the answers are not read, the
    // stream is not read from any more: what is sent on it changes nothing.
    const unknown = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [100 + i, {}]));
    let taken = 0;
    obu.signals.subscribe(new Set([DOOR]), () => taken++);
    const other = reach(path);
    for (let untouched = 0; untouched < 50; ) {
      stream.write({ publishValuesRequest: { dataPoints: { ...unknown, 1: { value: { bool: false } } } } });
      const before = taken;
      await other.call('GetValue', at(SPEED));
      untouched = taken > 0 && taken === before ? untouched + 1 : 0;
    }
    const asked = Array.from({ length: 30 }, () => obu.signals.actuate(DOOR, true, 20));
    for (const one of await Promise.allSettled(asked)) {
      expect(one).toMatchObject({ status: 'rejected' });
    }
  });

  it('publishes on a provider stream, and hears signal by signal what was wrong', async () => {
    const program = await programWith('provide:Vehicle.Chassis', 'read:Vehicle');
    const stream = program.provide();
    const next = reader(stream);
    stream.write({ provideSignalRequest: { signalsSampleIntervals: { 2: { intervalMs: 10 } } } });
    expect(await next()).toMatchObject({ provideSignalResponse: {} });
    stream.write({
      publishValuesRequest: {
        requestId: 5,
        dataPoints: { 1: { value: { bool: true } }, 2: { value: { int32: 33 } }, 3: {}, 9: { value: { int32: 1 } } },
      },
    });
    const { publishValuesResponse } = await next();
    expect(publishValuesResponse.requestId).toBe(5);
    const codes = Object.entries(publishValuesResponse.status as Record<string, { code: number }>);
    expect(codes.map(([id, error]) => [id, error.code])).toEqual([
      ['1', 4],
      ['3', 2],
      ['9', 3],
    ]);
    expect(obu.signals.get(ANGLE)?.value).toBe(33);
    stream.write({ provideActuationRequest: { actuatorIdentifiers: [{ path: ANGLE }] } });
    await expect(next()).rejects.toEqual(code(status.INVALID_ARGUMENT));
  });
});

describe('lists and defaults', () => {
  const LIST = 'Vehicle.Cabin.SeatPosCount';
  const leaves = `${LIST}: { datatype: "uint8[]", type: attribute, default: [2, 3], max: 9 }
Vehicle.Names: { datatype: "string[]", allowed: [a, b] }
Vehicle.Offsets: { datatype: "int16[]" }
Vehicle.Flags: { datatype: "boolean[]", type: actuator }
Vehicle.Vin: { datatype: string, type: attribute, default: UNKNOWN }
`;

  beforeEach(async () => {
    await obu.close();
    obu = new HandObu(leaves);
  });

  it('has the default of a leaf until somebody gives a value', async () => {
    const program = await programWith('provide:Vehicle', 'read:Vehicle');
    expect((await program.call('GetValue', at('Vehicle.Vin'))).dataPoint.value.string).toBe('UNKNOWN');
    const { dataPoint } = await program.call('GetValue', at(LIST));
    expect(dataPoint.value.uint32Array.values).toEqual([2, 3]);
    expect(Number(dataPoint.timestamp.seconds)).toBeGreaterThan(1.6e9);
    await program.call('PublishValue', { ...at('Vehicle.Vin'), dataPoint: { value: { string: 'X1' } } });
    expect((await program.call('GetValue', at('Vehicle.Vin'))).dataPoint.value.string).toBe('X1');
  });

  it('lists what they are, with the limits of their items', async () => {
    const program = await programWith('read:Vehicle');
    const { metadata } = await program.call('ListMetadata', { root: 'Vehicle' });
    const of = (path: string) => metadata.find((one: { path: string }) => one.path === path);
    // Numbers of kuksa.val.v2.DataType: UINT8_ARRAY, STRING_ARRAY, INT16_ARRAY, BOOLEAN_ARRAY.
    expect(['Vehicle.Names', 'Vehicle.Offsets', 'Vehicle.Flags'].map((path) => of(path).dataType)).toEqual([
      20, 23, 21,
    ]);
    expect(of(LIST)).toMatchObject({ dataType: 26, entryType: 1, max: { uint32: 9 } });
    expect(of('Vehicle.Names').allowedValues.stringArray.values).toEqual(['a', 'b']);
  });

  it('takes lists, hands them on, and refuses what is none of the leaf', async () => {
    const program = await programWith('provide:Vehicle', 'read:Vehicle');
    const next = reader(program.subscribe({ signalPaths: ['Vehicle.Offsets'] }));
    await next();
    const publish = (path: string, value: object) =>
      program.call('PublishValue', { ...at(path), dataPoint: { value } });
    await publish('Vehicle.Offsets', { int32Array: { values: [-5, 32767] } });
    expect((await next()).entries['Vehicle.Offsets'].value.int32Array.values).toEqual([-5, 32767]);
    await publish('Vehicle.Offsets', { int32Array: {} });
    expect((await next()).entries['Vehicle.Offsets'].value.int32Array.values).toEqual([]);
    for (const [path, value] of [
      ['Vehicle.Offsets', { int32: 5 }],
      ['Vehicle.Offsets', { uint32Array: { values: [5] } }],
      ['Vehicle.Offsets', { int32Array: { values: [1, 32768] } }],
      ['Vehicle.Names', { stringArray: { values: ['a', 'c'] } }],
      [LIST, { uint32Array: { values: [10] } }],
      ['Vehicle.Vin', { stringArray: { values: ['x'] } }],
    ] as const) {
      await expect(publish(path, value)).rejects.toEqual(code(status.INVALID_ARGUMENT));
    }
  });

  it('sets an actuator that is a list', async () => {
    const { path } = await serve(['provide:Vehicle', 'actuate:Vehicle']);
    const [provider, user] = [reach(path), reach(path)];
    const stream = provider.provide();
    const next = reader(stream);
    stream.write({ provideActuationRequest: { actuatorIdentifiers: [{ path: 'Vehicle.Flags' }] } });
    await next();
    const done = user.call('Actuate', { ...at('Vehicle.Flags'), value: { boolArray: { values: [true, false] } } });
    const { batchActuateStreamRequest } = await next();
    expect(batchActuateStreamRequest.actuateRequests[0].value.boolArray.values).toEqual([true, false]);
    stream.write({ batchActuateStreamResponse: { signalId: { path: 'Vehicle.Flags' } } });
    await done;
    await expect(user.call('Actuate', { ...at('Vehicle.Flags'), value: { bool: true } })).rejects.toEqual(
      code(status.INVALID_ARGUMENT),
    );
  });
});

describe('the endpoint', () => {
  it('gives nothing to a workload without a grant of signals', async () => {
    const program = reach((await serve([])).path);
    await expect(program.call('GetValue', at(SPEED))).rejects.toEqual(code(status.PERMISSION_DENIED));
    expect(await program.call('ListMetadata', {})).toMatchObject({ metadata: [] });
  });

  it('ends what is open when the grants change, and goes by the new ones', async () => {
    const { path, regrant } = await serveAlone(['read:Vehicle', 'provide:Vehicle.Chassis']);
    const program = reach(path);
    const next = reader(program.subscribe({ signalPaths: [SPEED] }));
    await next();
    await program.call('PublishValue', { ...at(ANGLE), dataPoint: { value: { int32: 5 } } });
    regrant(['read:Vehicle.Cabin']);
    await expect(next()).rejects.toEqual(code(status.UNAVAILABLE));
    expect(obu.signals.listeners.size).toBe(0);
    expect(obu.signals.get(ANGLE)).toMatchObject({ value: 5, stale: true });
    await expect(program.call('GetValue', at(SPEED))).rejects.toEqual(code(status.PERMISSION_DENIED));
    await program.call('GetValue', at(DOOR));
  });

  it('has another token each time, unless the container has run since before', async () => {
    const { path, gateway } = await serve(['read:Vehicle']);
    const file = join(dirname(path), 'token');
    const token = readFileSync(file, 'utf8');
    expect(token).toMatch(/^[0-9a-f]{64}$/);
    expect(statSync(file).mode & 0o777).toBe(0o444);
    await gateway.stop();
    const again = await obu.serve(workload('app', { ...noGrants, signals: ['read:Vehicle'] }), { isAdopted: true });
    expect(readFileSync(file, 'utf8')).toBe(token);
    await again.gateway.stop();
    await serve(['read:Vehicle']);
    expect(readFileSync(file, 'utf8')).not.toBe(token);
    await expect(reach(path, token).call('GetServerInfo', {})).rejects.toEqual(code(status.UNAUTHENTICATED));
  });

  it('ends with the gateway, whatever is open', async () => {
    const { path, gateway } = await serve(['read:Vehicle', 'provide:Vehicle']);
    const program = reach(path);
    const stream = program.subscribe({ signalPaths: [SPEED] });
    const ended = once(stream, 'error');
    stream.resume();
    const provider = program.provide();
    provider.on('error', () => {});
    provider.write({ provideActuationRequest: { actuatorIdentifiers: [{ path: DOOR }] } });
    await once(provider, 'data');
    await gateway.stop();
    await ended;
    expect(obu.signals.listeners.size).toBe(0);
    await expect(obu.signals.actuate(DOOR, true)).rejects.toMatchObject({ code: ErrorCode.NoActuationProvider });
    expect(existsSync(join(dirname(path), 'kuksa.sock'))).toBe(false);
  });

  it.each([
    ['zeros', Buffer.alloc(100_000)],
    ['HTTP/1.1', Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n')],
    ['noise', Buffer.from(Array.from({ length: 10_000 }, (_, i) => (i * 7919) % 251))],
    [
      'a preface and then noise',
      Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), Buffer.alloc(999, 7)]),
    ],
  ])('ends a connection that sends %s, and serves the others', async (_, bytes) => {
    const { path } = await serve(['read:Vehicle']);
    const program = reach(path);
    await program.call('GetServerInfo', {});
    const socket = connect(join(dirname(path), 'kuksa.sock'));
    socket.on('error', () => {});
    socket.resume();
    socket.write(bytes);
    await once(socket, 'close');
    await program.call('GetServerInfo', {});
  });

  it('refuses what is too large, and goes on', async () => {
    const { path } = await serve(['read:Vehicle']);
    const program = reach(path);
    program.metadata.set('x-large', 'y'.repeat(100_000));
    await expect(program.call('GetServerInfo', {})).rejects.toHaveProperty('code');
    program.metadata.remove('x-large');
    await program.call('GetServerInfo', {});
    const signalIds = Array.from({ length: 300 }, () => ({ path: 'x'.repeat(999) }));
    await expect(program.call('GetValues', { signalIds })).rejects.toEqual(code(status.RESOURCE_EXHAUSTED));
    const many = Array.from({ length: 5000 }, () => ({ id: 1 }));
    await expect(program.call('GetValues', { signalIds: many })).rejects.toEqual(code(status.RESOURCE_EXHAUSTED));
    await program.call('GetServerInfo', {});
  });

  it('answers what is no protobuf, and no call of it, with an error', async () => {
    const { path } = await serve(['read:Vehicle']);
    const token = readFileSync(join(dirname(path), 'token'), 'utf8');
    const session = connectHttp2('http://localhost', {
      createConnection: () => connect(join(dirname(path), 'kuksa.sock')),
    });
    const ask = async (call: string, body: Buffer) => {
      const stream = session.request({
        ':method': 'POST',
        ':path': `/kuksa.val.v2.VAL/${call}`,
        te: 'trailers',
        'content-type': 'application/grpc',
        authorization: `Bearer ${token}`,
      });
      stream.resume();
      const status = new Promise((resolve) => {
        const take = (headers: Record<string, unknown>) => headers['grpc-status'] && resolve(headers['grpc-status']);
        stream.on('response', take);
        stream.on('trailers', take);
      });
      stream.end(body);
      return Number(await status);
    };
    expect(await ask('GetValue', Buffer.from([0, 0, 0, 0, 3, 255, 255, 255]))).toBe(status.INTERNAL);
    expect(await ask('Nonsense', Buffer.from([0, 0, 0, 0, 0]))).toBe(status.UNIMPLEMENTED);
    session.destroy();
    await reach(path).call('GetServerInfo', {});
  });

  it('lets only so many connections in', async () => {
    const { path } = await serve(['read:Vehicle']);
    const sockets = Array.from({ length: 9 }, () => connect(join(dirname(path), 'kuksa.sock')));
    const ninth = Promise.race(sockets.map((socket) => once(socket, 'close')));
    for (const socket of sockets) socket.on('error', () => {}).resume();
    await ninth;
    for (const socket of sockets) socket.destroy();
    await sleep(10);
    await reach(path).call('GetServerInfo', {});
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { callControl, streamControl } from '../../shared/api/control-client.ts';
import { type ControlServer, createControlServer } from '../../shared/api/control-server.ts';
import { EventLog } from '../../shared/api/event-log.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import type { SignalProvider } from '../../shared/vss/signal.ts';
import { parseVssTree } from '../../shared/vss/vss-mapping.ts';
import { SignalStore } from '../signals/signal-store.ts';
import type { ApiParts } from './parts.ts';
import { signalRoutes } from './signal-routes.ts';

const TREE = `
Vehicle.Roof: { type: actuator, datatype: boolean }
Vehicle.Fan: { type: actuator, datatype: uint8, max: 100 }
Vehicle.Name: { type: actuator, datatype: string }
Vehicle.Zones: { type: actuator, datatype: "uint8[]" }
Vehicle.Serial: { type: actuator, datatype: uint64 }
Vehicle.Serials: { type: actuator, datatype: "uint64[]" }
Vehicle.Mass: { type: actuator, datatype: double }
Vehicle.Masses: { type: actuator, datatype: "float[]" }
Vehicle.Speed: { type: sensor, datatype: float }
`;

let folder: string;
let socket: string;
let server: ControlServer;
let store: SignalStore;
let provider: SignalProvider;
let asked: [string, unknown][];
const events = new EventLog();

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-signals-'));
  socket = join(folder, 's');
  store = new SignalStore([], parseVssTree(TREE, 'vss.yaml'));
  store.start();
  provider = store.openProvider('app');
  asked = [];
  provider.serve(
    ['Roof', 'Fan', 'Name', 'Zones', 'Serial', 'Serials', 'Mass', 'Masses'].map((name) => `Vehicle.${name}`),
    async (path, value) => {
      asked.push([path, value]);
      if (value === 13) throw new KerbError(ErrorCode.ActuationRefused, 'not 13');
      provider.provide([{ path, value }]);
    },
  );
  provider.provide([{ path: 'Vehicle.Speed', value: 12.5 }]);
  const routes = signalRoutes(() => ({ signals: store, events }) as unknown as ApiParts);
  server = createControlServer({ socketPath: socket, routes, log: silentLog() });
  await server.start();
});
afterEach(async () => {
  await server.stop();
  store.stop();
  await rm(folder, { recursive: true });
});

async function set(path: string, body: string, query = ''): Promise<unknown> {
  const url = `/v1/signals/${encodeURIComponent(path)}${query}`;
  return JSON.parse((await callControl(socket, url, { method: 'POST', body })).toString());
}

it('keeps every digit of a long integer, as text in JSON', async () => {
  const most = '18446744073709551615';
  for (const body of [`{ "value": ${most} }`, `{ "value": "${most}" }`]) {
    expect(await set('Vehicle.Serial', body)).toMatchObject({ acknowledged: { value: most } });
  }
  // 2^53 + 1 is the first integer that a double cannot hold; 2^53 - 1 is a number as ever.
  expect(await set('Vehicle.Serial', '{ "value": 9007199254740993 }')).toMatchObject({
    acknowledged: { value: '9007199254740993' },
  });
  expect(await set('Vehicle.Serial', '{ "value": "9007199254740991" }')).toMatchObject({
    acknowledged: { value: 9007199254740991 },
  });
  expect(asked.map(([, value]) => value)).toEqual([2n ** 64n - 1n, 2n ** 64n - 1n, 2n ** 53n + 1n, 2 ** 53 - 1]);
  for (const value of ['18446744073709551616', '-1', '1e19', '1.5', '"1e19"', '"9e15x"', '1e999']) {
    await expect(set('Vehicle.Serial', `{ "value": ${value} }`)).rejects.toMatchObject({
      code: ErrorCode.BadSignalValue,
    });
  }
});

it('keeps every digit in lists, and makes a number of them where a leaf is a float or a double', async () => {
  const most = '18446744073709551615';
  for (const value of [`[${most}, 1]`, `["${most}", "1"]`, `"[${most}, 1]"`]) {
    const { acknowledged } = (await set('Vehicle.Serials', `{ "value": ${value} }`)) as { acknowledged: object };
    expect(acknowledged).toMatchObject({ value: [most, 1] });
  }
  for (const value of [most, `"${most}"`]) {
    expect(await set('Vehicle.Mass', `{ "value": ${value} }`)).toMatchObject({ acknowledged: { value: 2 ** 64 } });
    expect(await set('Vehicle.Masses', `{ "value": [${value}] }`)).toMatchObject({
      acknowledged: { value: [2 ** 64] },
    });
  }
  expect(asked.map(([, value]) => value)).toEqual([
    ...new Array<unknown>(3).fill([2n ** 64n - 1n, 1]),
    ...[2 ** 64, [2 ** 64], 2 ** 64, [2 ** 64]],
  ]);
  for (const value of ['[18446744073709551616]', '["x"]', '[1.5]', '[true]']) {
    await expect(set('Vehicle.Serials', `{ "value": ${value} }`)).rejects.toMatchObject({
      code: ErrorCode.BadSignalValue,
    });
  }
});

it('gives values of leaves and branches', async () => {
  const get = async (query: string) => JSON.parse((await callControl(socket, `/v1/signals${query}`)).toString());
  const speed = { path: 'Vehicle.Speed', value: 12.5, source: 'app', stale: false };
  expect(await get('?path=Vehicle.Speed')).toMatchObject([speed]);
  expect((await get('?path=Vehicle&path=Vehicle.Speed')).map(({ path }: { path: string }) => path)).toEqual(
    store.paths(),
  );
  expect(await get('?path=Vehicle.Fan')).toEqual([
    {
      path: 'Vehicle.Fan',
      value: null,
      time: '',
      source: '',
      stale: false,
      reason: expect.stringMatching(/^nothing reports it/),
    },
  ]);
  await expect(get('?path=Vehicle.Nope')).rejects.toMatchObject({ code: ErrorCode.UnknownSignal });
  await expect(get('?follow=yes')).rejects.toMatchObject({ code: ErrorCode.BadControlRequest });
});

it('sets and gives lists, also as the command line writes them', async () => {
  expect(await set('Vehicle.Zones', '{"value":[1,2]}')).toMatchObject({ acknowledged: { value: [1, 2] } });
  expect(await set('Vehicle.Zones', '{"value":"[3]"}')).toMatchObject({ acknowledged: { value: [3] } });
  for (const value of ['5', '"5"', '"[1"', '[[1]]', 'null', '{}']) {
    await expect(set('Vehicle.Zones', `{"value":${value}}`)).rejects.toMatchObject({
      code: ErrorCode.BadControlRequest,
    });
  }
  await expect(set('Vehicle.Zones', '{"value":[256]}')).rejects.toMatchObject({ code: ErrorCode.BadSignalValue });
});

it('follows values, and stale ones as such', async () => {
  let text = '';
  for await (const chunk of streamControl(socket, '/v1/signals?path=Vehicle.Speed&follow=1')) {
    text += chunk;
    const lines = text.split('\n').length - 1;
    if (lines === 1) provider.provide([{ path: 'Vehicle.Speed', value: 13.5 }]);
    if (lines === 2) provider.close();
    if (lines === 3) break;
  }
  const readings = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(readings.map(({ value, stale }) => [value, stale])).toEqual([
    [12.5, false],
    [13.5, false],
    [13.5, true],
  ]);
});

it.each([
  ['Vehicle.Roof', '"true"', true],
  ['Vehicle.Roof', 'false', false],
  ['Vehicle.Fan', '"42"', 42],
  ['Vehicle.Fan', '42', 42],
  ['Vehicle.Name', '"42"', '42'],
])('sets %s to %s, as its datatype has it', async (path, value, wanted) => {
  expect(await set(path, `{"value":${value}}`)).toMatchObject({ path, acknowledged: { path, value: wanted } });
  expect(asked).toEqual([[path, wanted]]);
});

it.each([
  ['Vehicle.Roof', '{"value":"open"}', ErrorCode.BadSignalValue],
  ['Vehicle.Fan', '{"value":"fast"}', ErrorCode.BadSignalValue],
  ['Vehicle.Fan', '{"value":""}', ErrorCode.BadSignalValue],
  ['Vehicle.Fan', '{"value":101}', ErrorCode.BadSignalValue],
  ['Vehicle.Fan', '{"value":13}', ErrorCode.ActuationRefused],
  ['Vehicle.Speed', '{"value":1}', ErrorCode.NotAnActuator],
  ['Vehicle.Nope', '{"value":1}', ErrorCode.UnknownSignal],
  ['Vehicle.Fan', '{"value":null}', ErrorCode.BadControlRequest],
  ['Vehicle.Fan', '{"value":[1]}', ErrorCode.BadControlRequest],
  ['Vehicle.Fan', 'null', ErrorCode.BadControlRequest],
  ['Vehicle.Fan', '', ErrorCode.BadControlRequest],
  ['Vehicle.Fan', '{', ErrorCode.BadControlRequest],
])('refuses %s %s', async (path, body, code) => {
  await expect(set(path, body)).rejects.toMatchObject({ code });
});

it('does not wait when it is not to, and says later that it failed', async () => {
  expect(await set('Vehicle.Fan', '{"value":13}', '?wait=0')).toEqual({ path: 'Vehicle.Fan' });
  const following = events.follow(0, 'Vehicle.Fan', new AbortController().signal);
  expect((await following.next()).value).toMatchObject({ kind: 'signal', word: 'NotSet', message: 'not 13' });
  await expect(set('Vehicle.Fan', '{"value":101}', '?wait=0')).rejects.toMatchObject({
    code: ErrorCode.BadSignalValue,
  });
  await expect(set('Vehicle.Fan', '{"value":1}', '?timeoutMs=x')).rejects.toMatchObject({
    code: ErrorCode.BadControlRequest,
  });
});

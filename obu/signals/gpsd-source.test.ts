import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { silentLog } from '../../shared/base/log.ts';
import { gpsdLeaves } from './gpsd-report.ts';
import type { GpsdConfig, GpsdSource } from './gpsd-source.ts';
import { SignalStore } from './signal-store.ts';
import { makeGpsd } from './start.ts';

const where = 'Vehicle.CurrentLocation';
const none = { dbc: new Map(), mapping: [], vss: [], defaults: [], sources: new Map() };
const fix = { class: 'TPV', device: '/dev/a', mode: 3, lat: 48.1, lon: 11.5, speed: 10 };
let sockets: Socket[];
let heard: string;
let store: SignalStore;
let source: GpsdSource | undefined;
const server = createServer((socket) => {
  sockets.push(socket);
  socket.on('error', () => undefined);
  socket.on('data', (data) => {
    heard += data;
  });
});

beforeEach(async () => {
  sockets = [];
  heard = '';
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done));
});

afterEach(async () => {
  source?.stop();
  store.stop();
  for (const socket of sockets) socket.destroy();
  await new Promise((done) => server.close(done));
});

async function start(config: Partial<GpsdConfig> = {}): Promise<void> {
  const { port } = server.address() as AddressInfo;
  const gpsd = { host: '127.0.0.1', port, device: undefined, staleMs: 5000, ...config };
  store = new SignalStore([], gpsdLeaves(new Set()));
  store.start();
  source = makeGpsd({ ...none, gpsd }, store, silentLog());
  source!.start();
  await vi.waitFor(() => expect(heard).toContain('\n'));
}

const send = (...lines: unknown[]) =>
  sockets.at(-1)!.write(lines.map((one) => `${typeof one === 'string' ? one : JSON.stringify(one)}\r\n`).join(''));
const value = (leaf: string) => store.get(leaf === 'Speed' ? 'Vehicle.Speed' : `${where}.${leaf}`);
const becomes = (leaf: string, wanted: object) => vi.waitFor(() => expect(value(leaf)).toMatchObject(wanted));

it('gives every path in the units of VSS', async () => {
  await start({ device: '/dev/a' });
  expect(heard).toBe('?WATCH={"enable":true,"json":true,"device":"/dev/a"};\n');
  const rest = { altHAE: 520, track: 90, eph: 3, epv: 4, time: '1999-01-01T00:00:00.000Z' };
  send({ class: 'VERSION' }, { ...fix, device: '/dev/b', lat: 1 }, { ...fix, ...rest });
  await becomes('Latitude', { value: 48.1, source: 'gpsd', stale: false });
  const all = ['Longitude', 'Altitude', 'Heading', 'HorizontalAccuracy', 'VerticalAccuracy', 'Timestamp', 'Speed'];
  expect(all.map((leaf) => value(leaf)?.value)).toEqual([11.5, 520, 90, 3, 4, rest.time, 36]);
  // The receiver's clock is not believed.
  expect(value('Latitude')!.timeUs).toBeGreaterThan(1.6e15);
});

it.each([
  ['its receiver has no fix', { class: 'TPV', device: '/dev/a', mode: 1 }],
  ['its receiver was removed', { class: 'DEVICE', path: '/dev/a', activated: 0 }],
])('is stale when %s, and fresh again with the next fix', async (reason, message) => {
  await start();
  send(fix);
  await becomes('Latitude', { stale: false });
  send(message);
  await becomes('Latitude', { value: 48.1, stale: true });
  expect(store.whyNone(`${where}.Latitude`)).toContain(reason);
  send({ ...fix, lat: 49 });
  await becomes('Latitude', { value: 49, stale: false });
});

it('is stale when only bad messages come, which change nothing', async () => {
  await start({ staleMs: 150 });
  send(fix);
  await becomes('Latitude', { stale: false });
  send('garbage', '[]', '7', '{"class":"TPV","mode":3,"lat":NaN}', { ...fix, lat: 91 }, { ...fix, mode: 9 }, {});
  await becomes('Latitude', { value: 48.1, stale: true });
  expect(source!.status).toMatchObject({ state: 'NoFix', fixes: 1, invalid: 7 });
  expect(store.whyNone(`${where}.Latitude`)).toContain('it sent no fix for 0.15 s');
});

it('keeps to one of two receivers while that has a fix', async () => {
  await start();
  send(fix, { ...fix, device: '/dev/b', lat: 1 }, { class: 'TPV', device: '/dev/b', mode: 1 }, { ...fix, speed: 20 });
  await becomes('Speed', { value: 72 });
  expect(value('Latitude')).toMatchObject({ value: 48.1, stale: false });
  send({ class: 'TPV', device: '/dev/a', mode: 0 }, { ...fix, device: '/dev/b', lat: 1 });
  await becomes('Latitude', { value: 1, stale: false });
});

it.each([
  ['closes the connection', () => void sockets[0]!.end(), 'it closed the connection'],
  ['sends a line without end', () => void sockets[0]!.write('x'.repeat(20_000)), 'more than 16384 bytes'],
  ['floods', () => void sockets[0]!.write('{"class":"SKY"}\n'.repeat(200_000)), 'more than 1 MB in a second'],
])('is stale and connects again when gpsd %s', async (_what, act, reason) => {
  await start();
  send(fix);
  await becomes('Latitude', { stale: false });
  act();
  await becomes('Latitude', { stale: true });
  expect(source!.status).toMatchObject({ state: 'Disconnected', reason: expect.stringContaining(reason) });
  await vi.waitFor(() => expect(sockets).toHaveLength(2), 5000);
  send({ ...fix, lat: 49 });
  await becomes('Latitude', { value: 49, stale: false });
});

/** Position by Debian's gpsd, which gets what a receiver sends over TCP. It is unpacked, not installed. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { gpsdLeaves } from '../../obu/signals/gpsd-report.ts';
import { SignalStore } from '../../obu/signals/signal-store.ts';
import { makeGpsd } from '../../obu/signals/start.ts';
import { silentLog } from '../../shared/base/log.ts';
import { notRun } from '../support/machine/not-run.ts';

const folder = mkdtempSync(join(tmpdir(), 'kerb-gpsd-'));
const trouble = unpacked();
if (trouble !== undefined) notRun('gpsd', trouble);

/** Why it cannot be had; undefined: it is in the folder. */
function unpacked(): string | undefined {
  const names = ['gpsd', 'libbluetooth3'];
  const { status, stderr } = spawnSync('apt-get', ['download', ...names], { cwd: folder, encoding: 'utf8' });
  if (status !== 0)
    return `apt-get download ${names.join(' ')}: ${stderr?.trim().split('\n').at(-1) ?? 'it is not there'}`;
  for (const file of readdirSync(folder)) execFileSync('dpkg-deb', ['-x', file, '.'], { cwd: folder });
  return undefined;
}

const hex = (sum: number) => sum.toString(16).toUpperCase().padStart(2, '0');
const sentence = (text: string) => `$${text}*${hex([...text].reduce((sum, one) => sum ^ one.charCodeAt(0), 0))}\r\n`;

/** A second of a receiver in Bologna at 19.4 knots to the east, 55 m above a sea that is 47 m above the ellipsoid. */
function second(hasFix: boolean): string {
  const now = new Date().toISOString();
  const time = `${now.slice(11, 19).replaceAll(':', '')}.00`;
  const date = `${now.slice(8, 10)}${now.slice(5, 7)}${now.slice(2, 4)}`;
  const where = '4429.5000,N,01120.4000,E';
  const lines = hasFix
    ? [
        `GPGGA,${time},${where},1,08,0.9,55.0,M,47.0,M,,`,
        'GPGSA,A,3,04,05,09,12,24,25,29,31,,,,,1.8,0.9,1.5',
        `GPRMC,${time},A,${where},019.4,084.4,${date},,,A`,
      ]
    : [
        `GPGGA,${time},,,,,0,00,99.9,,M,,M,,`,
        'GPGSA,A,1,,,,,,,,,,,,,99.9,99.9,99.9',
        `GPRMC,${time},V,,,,,,,${date},,,N`,
      ];
  return lines.map(sentence).join('');
}

describe('gpsd', { skip: trouble !== undefined, meta: { notRun: trouble } }, () => {
  let daemon: ChildProcess;
  let hasFix = true;
  const receivers: Socket[] = [];
  const receiver = createServer((socket) => void receivers.push(socket.on('error', () => {})));
  const feeding = setInterval(() => {
    for (const one of receivers) one.write(second(hasFix));
  }, 1000);
  const store = new SignalStore([], gpsdLeaves(new Set()));
  let stop = () => {};
  const value = (path: string) => store.get(`Vehicle.${path}`);

  beforeAll(async () => {
    receiver.listen(0, '127.0.0.1');
    await once(receiver, 'listening');
    const { port } = receiver.address() as AddressInfo;
    const free = createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    const own = (free.address() as AddressInfo).port;
    free.close();
    const env = { ...process.env, LD_LIBRARY_PATH: join(folder, 'usr/lib/x86_64-linux-gnu') };
    const args = ['-N', '-n', '-S', String(own), `tcp://127.0.0.1:${port}`];
    daemon = spawn(join(folder, 'usr/sbin/gpsd'), args, { env, stdio: 'ignore' });
    store.start();
    const gpsd = { host: '127.0.0.1', port: own, device: undefined, staleMs: 5000 };
    const config = { dbc: new Map(), mapping: [], vss: [], defaults: [], sources: new Map(), gpsd };
    const source = makeGpsd(config, store, silentLog())!;
    source.start();
    stop = () => source.stop();
  });
  afterAll(() => {
    clearInterval(feeding);
    stop();
    store.stop();
    daemon?.kill();
    for (const one of receivers) one.destroy();
    receiver.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('gives position, heading and speed, and says when its receiver has no fix and when it is gone', async () => {
    await vi.waitUntil(() => value('CurrentLocation.Altitude')?.stale === false, { timeout: 60_000 });
    expect(value('CurrentLocation.Latitude')!.value).toBeCloseTo(44.491_666_7, 6);
    expect(value('CurrentLocation.Longitude')!.value).toBeCloseTo(11.34, 6);
    expect(value('CurrentLocation.Altitude')!.value).toBeCloseTo(102, 3);
    expect(value('CurrentLocation.Heading')!.value).toBeCloseTo(84.4, 3);
    expect(value('Speed')!.value).toBeCloseTo(19.4 * 1.852, 2);
    expect(value('CurrentLocation.HorizontalAccuracy')!.value).toBeGreaterThan(1);
    expect(value('CurrentLocation.Timestamp')!.value).toMatch(/^\d{4}-\d\d-\d\dT/);
    expect(store.gpsd).toMatchObject({ state: 'Fix', reason: '', invalid: 0 });
    hasFix = false;
    await vi.waitUntil(() => value('CurrentLocation.Latitude')?.stale === true, { timeout: 60_000 });
    expect(store.whyNone('Vehicle.CurrentLocation.Latitude')).toContain('its receiver has no fix');
    hasFix = true;
    await vi.waitUntil(() => value('CurrentLocation.Latitude')?.stale === false, { timeout: 60_000 });
    daemon.kill('SIGKILL');
    await vi.waitUntil(() => store.gpsd?.state === 'Disconnected', { timeout: 60_000 });
    expect(value('CurrentLocation.Latitude')!.stale).toBe(true);
  });
});

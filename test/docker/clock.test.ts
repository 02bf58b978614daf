/** A whole OBU whose wall clock is set while it runs: before its certificate, far behind it, and by years both ways. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { reachEngine } from '../../obu/engine/docker-client.ts';
import { getControl, getStatus } from '../../shared/api/control-client.ts';
import type { ObuEvent, SignalReading } from '../../shared/api/obu.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { createAuthority, issueCertificate } from '../../shared/identity/authority.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import { FakeClock, faketimeLibrary } from '../support/machine/faketime.ts';
import { useSharedEngine } from '../support/machine/shared-engine.ts';
import { longIt } from '../support/rounds.ts';
import { TestCar } from './car.ts';

useSharedEngine();

const YEAR_S = 365 * 86_400;
const IMAGE = 'kerbside-test-pause:1';
const WAIT = { timeout: 100_000, interval: 200 };
const manifest = `services:\n  pause: { image: "${IMAGE}", x-obu: { grants: { signals: ["read:Vehicle.Speed"] } } }\n`;

const library = faketimeLibrary();
if (library === undefined)
  process.stderr.write('not run: test/docker/clock, for the Debian package faketime is missing\n');

describe.skipIf(library === undefined)('the clock of a car', () => {
  const car = new TestCar();
  const root = mkdtempSync(join(tmpdir(), 'kerb-clock-'));
  const identity = join(root, 'identity');
  const state = join(root, 'state');
  const api = join(root, 'obu.sock');
  const log = join(root, 'obu.log');
  const clock = new FakeClock(join(root, 'offset'));
  let child: ChildProcess | undefined;

  const renew = async (days: number) => {
    const authority = await createAuthority('Test CA');
    const issued = await issueCertificate(authority, { kind: 'vehicle', id: 'test-car', tenant: 'ACME' }, days);
    await writeIdentity(identity, issued, authority.certificate, true);
  };

  beforeAll(async () => {
    mkdirSync(state);
    await car.start();
    await renew(365);
    const config = { ...JSON.parse(car.config()), identity, api: { listen: '127.0.0.1:0' } };
    config.cameras = {};
    config.brokers = [{ id: 'rsu-1', url: 'https://127.0.0.1:1' }];
    writeFileSync(join(car.folder, 'obu.yaml'), JSON.stringify(config));
    writeFileSync(join(root, 'car.compose.yaml'), manifest);
  });
  afterEach(stop);
  afterAll(async () => {
    await car.stop();
    await rm(root, { recursive: true, force: true });
  });

  const status = () => getStatus<ObuStatus>(api, 10_000);
  const workload = async () => (await status()).workloads[0]!;
  const speed = async (): Promise<SignalReading> =>
    JSON.parse(await getControl(api, '/v1/signals?path=Vehicle.Speed', 10_000))[0];

  const lastIdentityEvent = async () =>
    (JSON.parse(await getControl(api, '/v1/events', 10_000)) as ObuEvent[]).findLast(({ kind }) => kind === 'identity')
      ?.word;

  async function start(offsetSeconds: number): Promise<void> {
    clock.set(offsetSeconds);
    const out = openSync(log, 'w');
    const files = ['--config', join(car.folder, 'obu.yaml'), '--manifest', join(root, 'car.compose.yaml')];
    child = spawn('bin/kerb', ['obu', 'serve', ...files, '--state', state, '--api', api], {
      stdio: ['ignore', out, out],
      env: { ...process.env, ...clock.environment(library!) },
    });
    await expect
      .poll(async () => {
        if (child?.exitCode !== null) throw new Error(`the OBU has ended: ${readFileSync(log, 'utf8').slice(-2000)}`);
        return (await status().catch(() => undefined))?.obu;
      }, WAIT)
      .toBe('obu-1');
    await provideImage((await status()).engine);
    await expect.poll(async () => (await workload()).state, WAIT).toBe('Running');
  }

  async function stop(): Promise<void> {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null) return;
    running.kill('SIGTERM');
    await new Promise((resolve) => running.once('exit', resolve));
  }

  /** The smallest image there is: one program that waits. */
  async function provideImage({ kind, host }: ObuStatus['engine']): Promise<void> {
    const engine = await reachEngine(kind, host);
    const found = await engine.calls
      .getImage(IMAGE)
      .inspect()
      .catch(() => undefined);
    if (found !== undefined) return;
    const folder = join(root, 'image');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'pause.c'), '#include <unistd.h>\nint main(void) { for (;;) pause(); }\n');
    execFileSync('gcc', ['-static', '-o', join(folder, 'pause'), join(folder, 'pause.c')]);
    const tar = execFileSync('tar', ['-cf', '-', '-C', folder, 'pause'], { maxBuffer: 1 << 26 });
    const [repo, tag] = IMAGE.split(':');
    const changes = ['CMD ["/pause"]'];
    const progress = await engine.calls.importImage(Readable.from([tar]) as unknown as string, { repo, tag, changes });
    for await (const _ of progress as unknown as Readable) void _;
  }

  it('a car whose clock is before its certificate drives; identity, brokers and API come with the clock', async () => {
    await start(-20 * YEAR_S);
    const early = await status();
    expect(early.identity).toMatchObject({ state: 'WaitingForClock', good: false });
    expect(early.clock.behind).toBe(true);
    expect(early.api).toMatchObject({ listening: false });
    // The reason has the time of the look in it.
    const certificate = join(identity, 'certificate.pem');
    expect(early.places[0]).toMatchObject({ connected: false, reason: expect.stringContaining(certificate) });
    clock.set(0);
    await expect.poll(async () => (await status()).identity, WAIT).toMatchObject({ state: 'Valid', good: true });
    await expect.poll(async () => (await status()).api, WAIT).toMatchObject({ listening: true });
    // From now on it is the broker that is not there.
    await expect.poll(async () => (await status()).places[0]!.reason, WAIT).toMatch(/ECONNREFUSED/);
    expect((await status()).clock.behind).toBe(false);
    expect(await workload()).toMatchObject({ state: 'Running', restarts: 0 });
  }, 300_000);

  longIt(
    'a car whose certificate has expired drives, and takes up a new one without a restart',
    async () => {
      await start(2 * YEAR_S);
      expect((await status()).identity).toMatchObject({ state: 'Expired', good: false });
      expect((await status()).api!.listening).toBe(false);
      expect(await getControl(api, '/metrics', 10_000)).toMatch(/^obu_identity_state\{state="Expired"\} 1$/m);
      await renew(3 * 365);
      await expect.poll(async () => (await status()).identity, WAIT).toMatchObject({ state: 'Valid' });
      await expect.poll(async () => (await status()).api!.listening, WAIT).toBe(true);
      expect(child!.exitCode).toBeNull();
    },
    300_000,
  );

  const allEvents = async () => JSON.parse(await getControl(api, '/v1/events', 10_000)) as ObuEvent[];

  longIt(
    'a clock that jumps by years while it drives changes no state and no age',
    async () => {
      await renew(365);
      await start(0);
      await expect.poll(async () => (await speed()).value, WAIT).toBe(123.45);
      // What comes with the start, whose order is nobody's promise, is over.
      const words = async () => (await allEvents()).map(({ kind, word }) => `${kind} ${word}`);
      await expect.poll(words, WAIT).toEqual(expect.arrayContaining(['engine Answering', 'place Lost']));
      const before = (await allEvents()).at(-1)!.id;
      for (const years of [30, -35, 0]) {
        clock.set(years * YEAR_S);
        const year = new Date(Date.now() + years * YEAR_S * 1000).getUTCFullYear();
        const word = years > 0 ? 'Expired' : years < 0 ? 'WaitingForClock' : 'Valid';
        await expect.poll(lastIdentityEvent, WAIT).toBe(word);
        await expect.poll(async () => (await speed()).stale, WAIT).toBe(false);
        for (let look = 0; look < 10; look++, await sleep(200)) {
          expect(await workload()).toMatchObject({ state: 'Running', detail: 'Ok', restarts: 0 });
          expect((await speed()).ageMs).toBeLessThan(60_000);
          expect((await status()).engine.fault).toBe('');
        }
        await getControl(api, '/v1/workloads/pause', 10_000).then((text) => {
          // The engine's own clock is the real one here, so an age is as long as it was at the first look.
          expect(new Date(JSON.parse(text).containers[0].startedAt).getUTCFullYear()).toBe(year);
        });
      }
      const events = JSON.parse(await getControl(api, `/v1/events?after=${before}`)) as ObuEvent[];
      expect(events.map(({ kind, word }) => `${kind} ${word}`)).toEqual([
        'identity Expired',
        'identity WaitingForClock',
        'identity Valid',
      ]);
    },
    300_000,
  );
});

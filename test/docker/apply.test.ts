/** Manifests that come and go on a running OBU, over the command line, with a real engine. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ContainerInspectInfo } from 'dockerode';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stateLayout } from '../../obu/config/state-layout.ts';
import { type Engine, reachEngine } from '../../obu/engine/docker-client.ts';
import { buildWorkloadImage } from '../../obu/images/workload-image.ts';
import { getStatus } from '../../shared/api/control-client.ts';
import type { ManifestReply } from '../../shared/api/manifest.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { type CommandEnd, Kerb } from '../support/kerb/kerb.ts';
import { useSharedEngine } from '../support/machine/shared-engine.ts';
import { longIt } from '../support/rounds.ts';
import { STATUS_MS } from '../support/status-ms.ts';
import { until } from '../support/until.ts';
import { TestCar } from './car.ts';
import { buildImage } from './runtime.ts';

useSharedEngine();

// A name of its own: other files use the same engine.
const PROBE = 'kerbside-test-probe-apply:1';
/** In the bundle: every byte of an image is read, hashed and copied several times. */
const SMALL = 'kerbside-test-apply-small:1';
const car = new TestCar();
const state = mkdtempSync(join(tmpdir(), 'kerb-apply-'));
const api = join(state, 'api.sock');
const bundle = join(car.folder, 'car.tar');
let daemon: ChildProcess | undefined;
let engine: Engine;

const watcher = (grants: string, more = '') => `
  until-revoked:
    image: ${PROBE}
    environment: { MODE: until-revoked }
    restart: always
    ${more}
    x-obu: { grants: { signals: [${grants}] } }
`;
const all = `
  every-key:
    image: ${PROBE}
    command: ["-e", "setInterval(() => {}, 1000)"]
    entrypoint: ["node"]
    environment: { MODE: none }
    restart: on-failure:3
    depends_on: { until-revoked: { condition: service_started } }
    healthcheck: { test: ["CMD", "node", "-e", "process.chdir('/var/cache')"], interval: 2s, timeout: 20s, retries: 9 }
    mem_limit: 256m
    mem_reservation: 32m
    cpus: 0.5
    cpuset: "0"
    pids_limit: 64
    ulimits: { core: { soft: 4096, hard: 8192 } }
    shm_size: 2m
    tmpfs: ["/var/cache:size=1m,mode=0700,uid=7"]
    user: "7:8"
    working_dir: /tmp
    init: true
    stop_signal: SIGINT
    stop_grace_period: 3s
    hostname: every
    labels: { color: blue }
    read_only: true
    network_mode: none
`;

beforeAll(async () => {
  execFileSync('tools/build-app-sdk.sh');
  await car.start();
  writeFileSync(join(car.folder, 'obu.yaml'), car.config());
  const status = await serve();
  engine = await reachEngine(status.engine.kind, status.engine.host);
  await buildWorkloadImage(engine, join(import.meta.dirname, 'probe'), PROBE, () => {});
});

afterAll(async () => {
  commands.stop();
  await end('SIGTERM');
  for (const image of engine?.kind === 'external' ? [PROBE, SMALL] : []) {
    await engine.calls
      .getImage(image)
      .remove({ force: true })
      .catch(() => {});
  }
  await car.stop();
  await rm(state, { recursive: true, force: true });
});

async function serve(): Promise<ObuStatus> {
  const args = [
    'cli/kerb.ts',
    'obu',
    'serve',
    '--config',
    join(car.folder, 'obu.yaml'),
    '--state',
    state,
    '--api',
    api,
  ];
  daemon = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  daemon.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
  });
  return until('the status of the OBU', () => {
    if (daemon!.exitCode !== null) throw new Error(`kerb obu serve ended with ${daemon!.exitCode}: ${said}`);
    return getStatus<ObuStatus>(api).catch(() => undefined);
  });
}

async function end(signal: NodeJS.Signals): Promise<void> {
  if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
  const ended = new Promise((resolve) => daemon!.once('exit', resolve));
  daemon.kill(signal);
  await ended;
}

const commands = new Kerb();

/** `kerb obu …` as a person runs it. */
function kerb(...args: string[]): Promise<CommandEnd> {
  return commands.run(['obu', ...args]);
}

const toApi = ['--api', api];

/** A file with these services. */
function manifest(services: string, name = 'car.yaml'): string {
  const file = join(car.folder, name);
  writeFileSync(file, `services:\n${services}`);
  return file;
}

/** Which one is wanted; whether it has proved good may change at any time. */
async function wanted() {
  const { generation: number, file, text } = await generation();
  return { number, file, text };
}

async function generation(): Promise<ManifestReply> {
  return JSON.parse((await kerb('get', 'manifest', '-o', 'json', ...toApi)).out) as ManifestReply;
}

async function containers(): Promise<Map<string, ContainerInspectInfo>> {
  const listed = await engine.calls.listContainers({
    all: true,
    filters: { label: [`kerbside.owner=obu-1/${stateLayout(state).stateHash}`] },
  });
  // One that is being replaced may be removed between the two calls.
  const found = await Promise.allSettled(listed.map(({ Id }) => engine.calls.getContainer(Id).inspect()));
  const infos = found.flatMap((one) => {
    if (one.status === 'fulfilled') return [one.value];
    if ((one.reason as { statusCode?: number }).statusCode === 404) return [];
    throw one.reason;
  });
  return new Map(infos.map((info) => [info.Config.Labels['kerbside.workload']!, info]));
}

interface Report {
  readonly open: boolean;
  readonly end?: { readonly code: number; readonly message: string };
}

async function reported(wanted: (report: Report) => boolean): Promise<Report> {
  const file = join(state, 'data', 'until-revoked', 'until-revoked.json');
  const look = () => (existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Report) : undefined);
  return until(
    'a report of until-revoked',
    () => {
      const report = look();
      return report !== undefined && wanted(report) && report;
    },
    look,
  );
}

describe('kerb obu apply', () => {
  it('gives an OBU that runs nothing its first manifest, and waits until it is well', async () => {
    expect((await getStatus<ObuStatus>(api, STATUS_MS)).workloads).toEqual([]);
    expect(await kerb('get', 'manifest', ...toApi)).toMatchObject({
      code: 1,
      err: expect.stringContaining('[2015 UnknownManifest]'),
    });
    const said = await kerb('apply', manifest(watcher('"read:Vehicle.Speed"')), ...toApi);
    expect(said).toMatchObject({
      code: 0,
      out: expect.stringMatching(/until-revoked\s+create\n.*ready/),
    });
    expect((await reported(({ open }) => open)).open).toBe(true);
  });

  it('says what it would do, and does nothing', async () => {
    const before = await wanted();
    const said = await kerb(
      'apply',
      manifest(watcher('"read:Vehicle.Speed"', 'cpus: 0.5'), 'b.yaml'),
      '--dry-run',
      ...toApi,
    );
    expect(said.code).toBe(0);
    expect(said.out).toMatch(/^until-revoked {2}replace\nwould {2}stop {2}until-revoked/m);
    expect(await wanted()).toEqual(before);
  });

  it('refuses a bad manifest with every problem, and changes nothing', async () => {
    const before = await wanted();
    const bad = manifest(`${watcher('"read:Vehicle.Sped"')}  b: { imagee: x }\n`, 'bad.yaml');
    expect(await kerb('apply', bad, ...toApi)).toMatchObject({
      code: 1,
      err: expect.stringMatching(
        /bad\.yaml:\d+: services\.b\.image: [\s\S]*bad\.yaml:\d+: services\.b\.imagee: .*`image`/,
      ),
    });
    const unknown = await kerb('apply', manifest(watcher('"read:Vehicle.Sped"'), 'bad.yaml'), ...toApi);
    expect(unknown.code).toBe(1);
    expect(unknown.err).toMatch(/"Vehicle\.Sped".*"Vehicle\.Speed"/);
    expect(await wanted()).toEqual(before);
  });

  it('takes a grant away at once, in the container that runs', async () => {
    const before = (await containers()).get('until-revoked')!;
    // Adjusted, not replaced: the container stays.
    expect(await kerb('apply', manifest(watcher('')), ...toApi)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/until-revoked {2}update in place/),
    });
    const { end: reason } = await reported(({ open }) => !open);
    expect(reason?.code).toBe(ErrorCode.NotGranted);
    expect((await containers()).get('until-revoked')!.Id).toBe(before.Id);
  });

  longIt('applies every key of Compose that it takes', async () => {
    const said = await kerb('apply', manifest(watcher('') + all), ...toApi);
    expect(said).toMatchObject({ code: 0, err: expect.stringMatching(/every-key: Running\(Ok\)/) });
    const { Id, Config, HostConfig, State, Path, Args } = (await containers()).get('every-key')!;
    expect([Path, ...Args]).toEqual(['node', '-e', 'setInterval(() => {}, 1000)']);
    expect(State.Health!.Status).toBe('healthy');
    expect(Config).toMatchObject({
      User: '7:8',
      WorkingDir: '/tmp',
      Hostname: 'every',
      StopSignal: 'SIGINT',
      StopTimeout: 3,
      Labels: { color: 'blue' },
    });
    expect(HostConfig).toMatchObject({
      Memory: 268_435_456,
      MemoryReservation: 33_554_432,
      NanoCpus: 5e8,
      CpusetCpus: '0',
      PidsLimit: 64,
      ShmSize: 2_097_152,
      Init: true,
      ReadonlyRootfs: true,
      NetworkMode: 'none',
      Ulimits: [{ Name: 'core', Soft: 4096, Hard: 8192 }],
    });
    const facts = `
      const { readFileSync, statSync } = require('fs');
      const limits = /^Max core file size +(\\d+) +(\\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')).slice(1);
      const { mode, uid } = statSync('/var/cache');
      const init = readFileSync('/proc/1/comm', 'utf8').trim();
      console.log(JSON.stringify([limits, os.hostname(), process.getuid(), process.getgid(), init, mode & 0o777, uid]));`;
    const Cmd = ['node', '-e', facts];
    const exec = await engine.calls.getContainer(Id).exec({ Cmd, AttachStdout: true, AttachStderr: true, Tty: true });
    const chunks: Buffer[] = [];
    for await (const chunk of await exec.start({ Tty: true })) chunks.push(chunk as Buffer);
    const answer = Buffer.concat(chunks).toString();
    expect(JSON.parse(answer)).toEqual([['4096', '8192'], 'every', 7, 8, 'docker-init', 0o700, 7]);
  });

  it('says which workloads are not well', async () => {
    const absent = '  absent: { image: "kerbside-test-absent:1" }\n';
    expect(await kerb('apply', manifest(watcher('') + absent), ...toApi)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/1 of 2 .*absent Failed\(ImageMissing\)/),
    });
  });
});

describe('what was applied', () => {
  it('is what the OBU goes on with after it was killed, in the same container', async () => {
    await kerb('apply', manifest(watcher('"read:Vehicle.Speed"')), ...toApi);
    const [before, asked] = [await containers(), await wanted()];
    await end('SIGKILL');
    await serve();
    expect(await wanted()).toEqual(asked);
    await until('all workloads are ready', async () =>
      (await getStatus<ObuStatus>(api, STATUS_MS)).workloads.every(({ detail }) => detail === 'Ok'),
    );
    expect((await containers()).get('until-revoked')!.Id).toBe(before.get('until-revoked')!.Id);
  });

  it('can be taken back, once it has proved good', async () => {
    await until('the manifest is good', async () => (await generation()).good);
    const good = await generation();
    await kerb('apply', manifest(watcher('', 'cpus: 0.25'), 'new.yaml'), ...toApi);
    const said = await kerb('rollback', ...toApi);
    expect(said).toMatchObject({ code: 0, out: expect.stringMatching(/until-revoked {2}replace/) });
    expect(await generation()).toMatchObject({ text: good.text, file: 'car.yaml', generation: good.generation + 2 });
    expect((await kerb('get', 'manifest', '-o', 'table', ...toApi)).out).toMatch(/^GENERATION {2}APPLIED/);
    const again = await kerb('rollback', ...toApi);
    expect(again).toMatchObject({ code: 1, err: expect.stringContaining('[2014 NothingToRollBack]') });
  });
});

describe('a bundle', () => {
  it('carries manifest and images to an engine that has none of them', async () => {
    await buildImage(engine, SMALL);
    const loop = 'trap "exit 0" TERM; while :; do sleep 3600 & wait; done';
    const file = manifest(`  small: { image: "${SMALL}", command: [sh, -c, '${loop}'] }\n`, 'stick.yaml');
    const made = await kerb('bundle', file, '-o', bundle, ...toApi);
    expect(made).toMatchObject({
      code: 0,
      out: expect.stringMatching(new RegExp(`car\\.tar: .*${SMALL} for \\w+, [\\d.]+ MB`)),
    });
    // Nothing of it is left on the engine.
    await kerb('apply', manifest('  nobody: { image: "kerbside-test-absent:1" }\n', 'none.yaml'), ...toApi);
    await until('no container', async () => (await containers()).size === 0);
    await engine.calls.getImage(SMALL).remove({ force: true });
    const dry = await kerb('apply', bundle, '--dry-run', ...toApi);
    expect(dry).toMatchObject({ code: 0, out: expect.stringMatching(new RegExp(`^would load ${SMALL}\n`)) });
    await expect(engine.calls.getImage(SMALL).inspect()).rejects.toMatchObject({ statusCode: 404 });

    const said = await kerb('apply', bundle, ...toApi);
    expect(said).toMatchObject({
      code: 0,
      out: expect.stringMatching(/stick\.yaml\n[\s\S]*ready/),
    });
  });

  it('that is cut off is refused before anything is done', async () => {
    const before = await wanted();
    truncateSync(bundle, Math.floor(statSync(bundle).size / 2));
    expect(await kerb('apply', bundle, ...toApi)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/car\.tar.*\[2013 BadBundle\]\n$/),
    });
    expect(await wanted()).toEqual(before);
  });

  it('is not made of images that are not there, and leaves no file', async () => {
    const file = manifest('  nobody: { image: "kerbside-test-absent:1" }\n', 'none.yaml');
    const output = join(car.folder, 'none.tar');
    expect(await kerb('bundle', file, '-o', output, ...toApi)).toMatchObject({
      code: 1,
      err: expect.stringContaining('kerbside-test-absent:1'),
    });
    expect([output, `${output}.part`, `${output}.images.part`].filter(existsSync)).toEqual([]);
  });
});

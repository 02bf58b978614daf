/** Every verb on a running OBU, as a person would use it: the real command line, daemon, engine and containers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { type Engine, reachEngine } from '../../obu/engine/docker-client.ts';
import { getControl, getStatus } from '../../shared/api/control-client.ts';
import type { Explanation, LogLine, ObuEvent } from '../../shared/api/obu.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { LOG_KEYS } from '../../shared/base/log.ts';
import { type Credentials, createAuthority, issueCertificate, type Subject } from '../../shared/identity/authority.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import { type CommandEnd, Kerb } from '../support/kerb/kerb.ts';
import { useSharedEngine } from '../support/machine/shared-engine.ts';
import { parseMetrics } from '../support/metrics-text.ts';
import { STATUS_MS } from '../support/status-ms.ts';
import { until as waitUntil } from '../support/until.ts';
import { TestCar } from './car.ts';
import { buildImage } from './runtime.ts';

useSharedEngine();

// A name of its own: other files use the same engine, and here it is missing at first.
const IMAGE = 'kerbside-test-verbs:1';

const MANIFEST = `
services:
  talk:
    image: ${IMAGE}
    command: [sh, -c, 'trap "exit 0" TERM; echo hello; echo oops >&2; n=0; while :; do n=$$((n+1)); echo line $$n; sleep 0.2; done']
    restart: always
    mem_limit: 64m
    cpus: 0.3
    x-obu: { priority: 700, grants: { signals: ["read:Vehicle.Speed"], cameras: [{ name: front, maxFps: 5 }] } }
  broken:
    image: ${IMAGE}
    command: [sh, -c, 'echo going down >&2; exit 3']
    restart: always
    mem_limit: 32m
  big: { image: "${IMAGE}", mem_limit: 1g }
`;

const car = new TestCar();
const state = mkdtempSync(join(tmpdir(), 'kerb-verbs-'));
const api = join(state, 'api.sock');
let authority: Credentials;
let obu: ChildProcess;
let engine: Engine;
let said = '';
let port = 0;

type Ended = Pick<CommandEnd, 'out' | 'err'> & { readonly code: number | null };

const commands = new Kerb();
const whole = (args: readonly string[]) => [...args, ...(args.includes('--api') ? [] : ['--api', api])];

/** Runs kerb to its end. */
function kerb(args: readonly string[]): Promise<Ended> {
  return commands.run(whole(args));
}

/** Runs kerb, and interrupts it when its output matches, as Ctrl-C does. */
function interrupted(args: readonly string[], until: RegExp): Promise<Ended> {
  return commands.interrupted(whole(args), until);
}

/** The same in a process of its own, for a test that gives commands meanwhile. */
async function interruptedAlone(
  args: readonly string[],
  until: RegExp,
  onOutput: (out: string) => void,
): Promise<Ended> {
  const child = spawn(process.execPath, ['cli/kerb.ts', ...whole(args)], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err, done] = ['', '', false];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
    onOutput(out);
    if (until.test(out) && !done) done = child.kill('SIGINT');
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}

/** What kerb printed, when it did what it was asked. */
async function done(...args: string[]): Promise<string> {
  const { code, out, err } = await kerb(args);
  if (code !== 0) throw new Error(`kerb ${args.join(' ')} ended with ${code}: ${err}`);
  return out;
}

async function explained(workload: string): Promise<Explanation> {
  return JSON.parse(await done('explain', workload, '-o', 'json'));
}

async function until(workload: string, wanted: string): Promise<void> {
  const word = async () => {
    const now = (await getStatus<ObuStatus>(api, STATUS_MS)).workloads.find(({ name }) => name === workload);
    return now && `${now.state}(${now.detail})`;
  };
  let last: string | undefined;
  await waitUntil(
    `${workload} is ${wanted}`,
    async () => {
      last = await word();
      return last === wanted;
    },
    () => last,
  );
}

async function identity(subject: Subject): Promise<string> {
  const dir = join(state, `identity-${subject.kind}-${subject.id}`);
  await writeIdentity(dir, await issueCertificate(authority, subject), authority.certificate);
  return dir;
}

beforeAll(async () => {
  await car.start();
  authority = await createAuthority('Test CA');
  const config = {
    ...JSON.parse(car.config()),
    capacity: { memory: '512m', cpus: 2 },
    reserve: { memory: 0, cpus: 0 },
    identity: await identity({ kind: 'vehicle', id: 'test-car', tenant: 'ACME' }),
    api: { listen: '127.0.0.1:0', operators: ['alice'] },
  };
  writeFileSync(join(car.folder, 'obu.yaml'), JSON.stringify(config));
  writeFileSync(join(car.folder, 'car.compose.yaml'), MANIFEST);
  const files = ['--config', join(car.folder, 'obu.yaml'), '--manifest', join(car.folder, 'car.compose.yaml')];
  const args = ['--disable-warning=ExperimentalWarning', 'cli/kerb.ts', 'obu', 'serve', ...files];
  obu = spawn(process.execPath, [...args, '--state', state, '--api', api], { stdio: ['ignore', 'ignore', 'pipe'] });
  obu.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const daemon = obu;
  const look = () => {
    if (daemon.exitCode !== null) throw new Error(`kerb obu serve ended with ${daemon.exitCode}: ${said}`);
    return getStatus<ObuStatus>(api).catch(() => undefined);
  };
  const { kind, host } = (await waitUntil('kerb obu serve answers', look, () => said)).engine;
  engine = await reachEngine(kind, host);
  port = Number(/"url":"https:[^"]*:(\d+)","msg":"serving the API over TLS"/.exec(said)![1]);
  await buildImage(engine, IMAGE);
  await until('talk', 'Running(Ok)');
});

afterAll(async () => {
  commands.stop();
  if (obu?.exitCode === null) {
    const ended = new Promise((resolve) => obu.once('exit', resolve));
    obu.kill('SIGTERM');
    await ended;
  }
  if (engine?.kind === 'external') await engine.calls.getImage(IMAGE).remove({ force: true });
  await car.stop();
  await rm(state, { recursive: true, force: true });
});

describe('a person looks at what runs', () => {
  it('get workloads', async () => {
    expect(await done('obu', 'get', 'workloads')).toMatch(/^talk +700 +Running\(Ok\) /m);
    const all = parseAllDocuments(await done('obu', 'get', 'workloads', '-o', 'yaml'))[0] as { toJS(): unknown };
    expect(all.toJS()).toMatchObject([{ name: 'big' }, { name: 'broken' }, { name: 'talk' }]);
  });

  it('explain says why one has no room, with the numbers', async () => {
    const { workload, room } = await explained('big');
    expect(workload).toMatchObject({ state: 'Pending', detail: 'NoCapacity' });
    expect(room.memory.total).toBe(512 * 2 ** 20);
    expect(await done('explain', 'big')).toMatch(/1024 MiB|1 GiB|1073741824/);
  });

  it('explain says why one does not stay up, with its last words', async () => {
    await until('broken', 'Pending(CrashLoop)');
    const all = await explained('broken');
    expect(all.lastEnd!.how).toMatch(/\b3\b/);
    expect(all.failures).toBeGreaterThanOrEqual(5);
    expect(all.log.at(-1)).toMatchObject({ stream: 'stderr', text: 'going down' });
    expect(all.events.some(({ kind, word }) => kind === 'step' && word === 'create-and-start')).toBe(true);
    const text = await done('explain', 'broken');
    expect(text).toContain('! going down');
    expect(text.split('\n').length).toBeLessThan(40);
    // Its container is gone, and what it said is not.
    // While the next one of it starts, that has not said anything yet.
    await vi.waitFor(async () => expect((await kerb(['logs', 'broken'])).err).toContain('going down\n'), {
      timeout: 30_000,
      interval: 500,
    });
  });

  it('explain and logs of what there is not', async () => {
    for (const verb of ['explain', 'logs', 'freeze', 'thaw']) {
      const { code, err } = await kerb([verb, 'nobody']);
      expect(code).toBe(1);
      expect(err).toMatch(/nobody.*big, broken, talk.*\[2006 UnknownWorkload\]\n$/);
    }
  });

  it('top', async () => {
    const [talk] = JSON.parse(await done('top', '-o', 'json'));
    expect(talk).toMatchObject({ workload: 'talk', cpuLimit: 0.3, memoryLimit: 64 * 2 ** 20 });
    expect(talk.memory).toBeGreaterThan(10_000);
    expect(talk.threads).toBeGreaterThan(0);
    const watched = await interrupted(['top', '-w'], /talk[\s\S]*talk/);
    expect(watched).toMatchObject({ code: 0, err: '' });
  });

  it('status, and status that goes on', async () => {
    expect(await done('status')).toContain('OBU obu-1 of vehicle test-car');
    const { code, out, err } = await interrupted(['status', '-w', '-o', 'json'], /\n[\s\S]*\n/);
    expect([code, err]).toEqual([0, '']);
    for (const line of out.trim().split('\n')) expect(JSON.parse(line)).toMatchObject({ obu: 'obu-1' });
  });

  it('grants, signals and events', async () => {
    expect(await done('obu', 'get', 'grants')).toMatch(/^talk +camera +front +at most 5 pictures\/s$/m);
    expect(await done('obu', 'get', 'signals', 'Vehicle.Speed')).toMatch(/^Vehicle\.Speed +123\.45\d* +can0/m);
    const events: ObuEvent[] = JSON.parse(await done('obu', 'get', 'events', '--name', 'talk', '-o', 'json'));
    expect(events.map(({ kind, word }) => `${kind} ${word}`)).toEqual(
      expect.arrayContaining(['workload Failed(ImageMissing)', 'step create-and-start', 'workload Running(Ok)']),
    );
    const watched = await interrupted(['obu', 'get', 'events', '-w', '--name', 'broken'], /create-and-start/);
    expect(watched).toMatchObject({ code: 0, err: '' });
  });

  it('signals as they come, and what cannot be set', async () => {
    const { code, out } = await interrupted(['signal', 'subscribe', 'Vehicle.Speed'], /\n.*\n/);
    expect(code).toBe(0);
    expect(out).toMatch(/^\S+ {2}Vehicle\.Speed = 123\.4\d* {2}\(can0\)$/m);
    expect(await kerb(['signal', 'get', 'Vehicle.Nope'])).toMatchObject({
      code: 1,
      err: expect.stringMatching(/Vehicle\.Nope.*\[3006 UnknownSignal\]\n$/),
    });
    const { code: status, err } = await kerb(['signal', 'set', 'Vehicle.Speed', '5']);
    expect(status).toBe(1);
    expect(err).toMatch(/Vehicle\.Speed.*sensor/);
  });
});

describe('logs', () => {
  it('have the last lines, with their times and streams', async () => {
    const { out, err, code } = await kerb(['logs', 'talk', '-t']);
    expect(code).toBe(0);
    expect(out).toMatch(/^\d{4}-\d\d-\d\dT\S+Z hello$/m);
    expect(err).toMatch(/^\S+Z oops$/m);
    expect((await done('logs', 'talk', '-n', '2')).trim().split('\n')).toHaveLength(2);
  });

  it('follow over a restart of the container, and end with Ctrl-C', async () => {
    let killed = false;
    const { code, out, err } = await interruptedAlone(
      ['logs', '-f', '-n', '1', 'talk', '-o', 'json'],
      /"hello"/,
      () => {
        if (killed) return;
        killed = true;
        void explained('talk').then(({ containers }) => engine.calls.getContainer(containers[0]!.id).kill());
      },
    );
    expect(code).toBe(0);
    expect(err.trimEnd().split('\n')).toEqual([expect.stringMatching(/talk.*new container/)]);
    const lines: LogLine[] = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(new Set(lines.map(({ container }) => container)).size).toBe(2);
    expect(lines.at(-1)!.container).not.toBe(lines[0]!.container);
  });
});

describe('a person acts', () => {
  const paused = async () => {
    const [container] = (await explained('talk')).containers;
    return (await engine.calls.getContainer(container!.id).inspect()).State.Paused;
  };

  it('freezes and thaws, and each is so when the command is done', async () => {
    await until('talk', 'Running(Ok)');
    expect(await done('freeze', 'talk')).toMatch(/^talk: Frozen\(person\)/);
    expect(await paused()).toBe(true);
    expect(await done('thaw', 'talk')).toMatch(/^talk: Running\(Ok\)/);
    expect(await paused()).toBe(false);
  });

  it('over TLS: an operator who is named may, others may not', async () => {
    const alice = await identity({ kind: 'operator', id: 'alice' });
    const mallory = await identity({ kind: 'operator', id: 'mallory' });
    const remote = ['--api', `https://127.0.0.1:${port}`, '--identity'];
    expect(await done('obu', 'get', 'workloads', ...remote, alice)).toContain('talk');
    expect(await done('logs', 'talk', '-n', '1', ...remote, alice)).not.toBe('');
    expect((await kerb(['freeze', 'talk', ...remote, mallory])).err).toContain('[1031 ApiForbidden]');
    expect(await paused()).toBe(false);
  });
});

describe('a program', () => {
  it('reads the metrics', async () => {
    const samples = parseMetrics(await getControl(api, '/metrics', 5000));
    const of = (name: string, workload: string) =>
      samples.find(
        ({ name: one, labels }) =>
          one === name && [labels.workload, labels.container_label_kerbside_workload].includes(workload),
      );
    expect(of('obu_workload_state', 'talk')).toMatchObject({ labels: { state: 'Running' }, value: 1 });
    expect(of('obu_workload_restarts_total', 'broken')!.value).toBeGreaterThanOrEqual(4);
    const { labels, value } = of('container_cpu_usage_seconds_total', 'talk')!;
    expect(value).toBeGreaterThan(0);
    expect(labels).toMatchObject({ cpu: 'total', image: IMAGE, name: expect.stringContaining('talk') });
    expect(labels.id).toMatch(/^\/docker\/[0-9a-f]{64}$/);
    expect(of('container_memory_working_set_bytes', 'talk')!.value).toBeGreaterThan(10_000);
    expect(of('container_spec_memory_limit_bytes', 'talk')!.value).toBe(64 * 2 ** 20);
  });

  it('reads the log: JSON lines with known keys and nothing else', async () => {
    const ended = new Promise((resolve) => obu.once('close', resolve));
    obu.kill('SIGTERM');
    expect(await ended).toBe(0);
    const lines = said.trimEnd().split('\n');
    expect(lines.length).toBeGreaterThan(10);
    for (const line of lines) {
      const fields = JSON.parse(line);
      expect(fields).toMatchObject({
        time: expect.any(String),
        level: expect.any(String),
        room: 'obu',
        msg: expect.any(String),
      });
      for (const key of Object.keys(fields)) expect(LOG_KEYS).toContain(key);
    }
    expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(state);
  });
});

/** What a person sees of `kerb obu apply`, `bundle` and `kerb image build` when something is in the way, with a real engine. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { extract, pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, reachEngine } from '../../obu/engine/docker-client.ts';
import { getStatus } from '../../shared/api/control-client.ts';
import type { ManifestReply } from '../../shared/api/manifest.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { type CommandEnd, Kerb } from '../support/kerb/kerb.ts';
import { hasSharedEngine, ownEngine, useSharedEngine } from '../support/machine/shared-engine.ts';
import { longIt, rounds } from '../support/rounds.ts';
import { STATUS_MS } from '../support/status-ms.ts';
import { until } from '../support/until.ts';

useSharedEngine();

/** Ends with 1 the first time when it is called with `once`; else it waits for SIGTERM. */
const program = `
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
static void end(int number) { (void)number; _exit(0); }
int main(int argc, char **argv) {
  signal(SIGTERM, end);
  if (argc > 1 && strcmp(argv[1], "once") == 0) {
    int file = open("/data/once", O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (file >= 0) return 1;
  }
  for (;;) pause();
}
`;

const folder = mkdtempSync(join(tmpdir(), 'kerb-bundles-'));

const commands = new Kerb();

/** A daemon of its own. */
class Obu {
  readonly state: string;
  readonly api: string;
  #daemon: ChildProcess | undefined;

  constructor(name: string) {
    this.state = join(folder, name);
    this.api = join(folder, `${name}.sock`);
  }

  /** @param env which engine it uses is in it */
  async serve(env: NodeJS.ProcessEnv = process.env): Promise<ObuStatus> {
    const config = join(folder, 'obu.yaml');
    writeFileSync(
      config,
      'vehicle: v\nobu: o\ncapacity: { memory: 1000m, cpus: 8 }\nreserve: { memory: 0, cpus: 0 }\npressure: { memory: 100, cpu: 100 }\n',
    );
    mkdirSync(this.state, { recursive: true });
    const args = ['cli/kerb.ts', 'obu', 'serve', '--config', config, '--state', this.state, '--api', this.api];
    const daemon = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'], env });
    this.#daemon = daemon;
    let said = '';
    daemon.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4000);
    });
    const look = () => {
      if (daemon.exitCode !== null) throw new Error(`kerb obu serve ended with ${daemon.exitCode}: ${said}`);
      return getStatus<ObuStatus>(this.api).catch(() => undefined);
    };
    return until('kerb obu serve answers', look, () => said);
  }

  async stop(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const ended = new Promise((resolve) => daemon.once('exit', resolve));
    daemon.kill('SIGTERM');
    await ended;
  }

  /** A command as a person runs it. */
  kerb(...args: string[]): Promise<CommandEnd> {
    return commands.run([...args, '--api', this.api]);
  }

  async generation(): Promise<ManifestReply> {
    return JSON.parse((await this.kerb('obu', 'get', 'manifest', '-o', 'json')).out) as ManifestReply;
  }
}

const SMALL = 'kerbside-test-small';
const car = new Obu('car');
const context = join(folder, 'context');
let engine: Engine;

function manifest(name: string, services: string): string {
  const file = join(folder, `${name}.yaml`);
  writeFileSync(file, `services:\n${services}`);
  return file;
}

/** An image with the program and a file of its own. @returns its id */
async function build(tag: string, own: Buffer | string): Promise<string> {
  writeFileSync(join(context, 'root/own'), own);
  const said = await car.kerb('image', 'build', context, '--tag', tag);
  expect(said).toMatchObject({ code: 0 });
  return said.out.split(' ')[1]!;
}

beforeAll(async () => {
  mkdirSync(join(context, 'root/empty'), { recursive: true });
  writeFileSync(join(folder, 'main.c'), program);
  execFileSync('gcc', ['-static', '-Os', '-o', join(context, 'root/main'), join(folder, 'main.c')]);
  writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nCOPY root/ /\nENTRYPOINT ["/main"]\n');
  const { kind, host } = (await car.serve()).engine;
  engine = await reachEngine(kind, host);
  await build(`${SMALL}:1`, 'one');
});

afterAll(async () => {
  commands.stop();
  await car.stop();
  if (engine?.kind === 'external') {
    for (const tag of ['1', '2', 'arm', 'big']) {
      await engine.calls
        .getImage(`${SMALL}:${tag}`)
        .remove({ force: true })
        .catch(() => {});
    }
  }
  await rm(folder, { recursive: true, force: true });
});

const workloads = async () => (await getStatus<ObuStatus>(car.api, STATUS_MS)).workloads;
const statusOf = async (name: string) => (await workloads()).find((one) => one.name === name)!;

/** "Running(Ok)", by workload. */
async function told(): Promise<Record<string, string>> {
  return Object.fromEntries((await workloads()).map(({ name, state, detail }) => [name, `${state}(${detail})`]));
}

const service = (name: string, image: string, more = '') =>
  `  ${name}:\n    image: ${image}\n    restart: always\n    mem_limit: 16m\n    cpus: 0.1\n${more}`;

describe('kerb image build', () => {
  it('fails when a step of it fails, and says which file is missing', async () => {
    const bad = join(folder, 'bad');
    mkdirSync(bad);
    writeFileSync(join(bad, 'Dockerfile'), 'FROM scratch\nCOPY nowhere /\n');
    expect(await car.kerb('image', 'build', bad, '--tag', `${SMALL}:bad`)).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringMatching(new RegExp(`nowhere.*\\[${ErrorCode.ImageBuildFailed} `)),
    });
  });
});

describe('kerb obu apply', () => {
  it('waits for a workload that is started again after a first crash', async () => {
    const file = manifest('late', service('late', `${SMALL}:1`, '    command: [once]\n'));
    expect(await car.kerb('obu', 'apply', file)).toMatchObject({
      code: 0,
      err: expect.stringMatching(/late: .*\b1\b[\s\S]*late: Running\(Ok\)/),
    });
    expect(await told()).toEqual({ late: 'Running(Ok)' });
    expect((await statusOf('late')).restarts).toBe(1);
  });

  longIt('ends well when workloads make room as their priorities say, and such a manifest is good', async () => {
    const maps = service('maps', `${SMALL}:1`, '    x-obu: { priority: idle }\n').replace('16m', '600m');
    const adas = service('adas', `${SMALL}:1`, '    x-obu: { priority: high }\n').replace('16m', '500m');
    expect(await car.kerb('obu', 'apply', manifest('p1', maps))).toMatchObject({ code: 0 });
    expect(await car.kerb('obu', 'apply', manifest('p2', maps + adas))).toMatchObject({
      code: 0,
      out: expect.stringMatching(/maps.*adas: Pending\(NoCapacity\)/),
    });
    expect(await told()).toEqual({ maps: 'Pending(NoCapacity)', adas: 'Running(Ok)' });
    expect((await statusOf('maps')).displacedBy).toEqual(['adas']);
    const good = await until('the manifest is good', async () => {
      const reply = await car.generation();
      return reply.good && reply;
    });
    expect(await car.kerb('obu', 'apply', manifest('p3', adas))).toMatchObject({ code: 0 });
    expect(await car.kerb('obu', 'rollback')).toMatchObject({ code: 0 });
    expect((await car.generation()).text).toBe(good.text);
  });

  it('says that its time is over', async () => {
    const file = manifest(
      'slow',
      service('slow', `${SMALL}:1`, '    healthcheck: { test: [CMD, /nowhere], interval: 1h }\n'),
    );
    expect(await car.kerb('obu', 'apply', file, '--timeout', '1s')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/--timeout 1s/),
    });
  });

  longIt('takes an image that was built here by its id, and says how when it is not there', async () => {
    const { Id } = await engine.calls.getImage(`${SMALL}:1`).inspect();
    const names = [`${SMALL}@${Id}`, `${SMALL}:7@${Id}`, Id];
    const pinned = manifest('pinned', names.map((image, n) => service(`pinned-${n}`, image)).join(''));
    expect(await car.kerb('obu', 'apply', pinned)).toMatchObject({ code: 0 });
    expect(Object.values(await told())).toEqual(Array(3).fill('Running(Ok)'));
    const absent = manifest('absent', service('b', `${SMALL}@sha256:${'0'.repeat(63)}1`));
    expect(await car.kerb('obu', 'apply', absent)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/b: Failed\(ImageMissing\).*kerb image build/),
    });
  });

  longIt('refuses an image for another machine that is on the engine, and so does --dry-run', async () => {
    await loadForeign(`${SMALL}:arm`);
    const before = await car.generation();
    const file = manifest('foreign', service('a', `${SMALL}:arm`));
    for (const more of [[], ['--dry-run']]) {
      expect(await car.kerb('obu', 'apply', file, ...more)).toMatchObject({
        code: 1,
        err: expect.stringMatching(new RegExp(`workload a: .*s390x.*\\[${ErrorCode.WrongArchitecture} `)),
      });
    }
    expect((await car.generation()).generation).toBe(before.generation);
  });

  it('tells in one line why a program cannot be started', async () => {
    const file = manifest(
      'noprog',
      service('a', `${SMALL}:1`, '    entrypoint: [/nowhere]\n').replace('always', '"no"'),
    );
    const said = await car.kerb('obu', 'apply', file);
    expect(said).toMatchObject({ code: 1, err: expect.stringMatching(/a: Failed\(CannotStart\).*\/nowhere/) });
    expect(said.err).not.toMatch(/runc|OCI|shim/);
  });
});

describe('a bundle', () => {
  longIt(
    'with a new workload applies, each time',
    async () => {
      for (let round = 0; round < rounds(1, 2); round++) {
        await car.kerb('obu', 'apply', manifest('before', service('a', `${SMALL}:1`)));
        await build(`${SMALL}:2`, `two ${round}`);
        const file = manifest('new', service('a', `${SMALL}:1`) + service('b', `${SMALL}:2`));
        const output = join(folder, 'new.tar');
        expect(await car.kerb('obu', 'bundle', file, '-o', output)).toMatchObject({ code: 0 });
        await engine.calls.getImage(`${SMALL}:2`).remove({ force: true });
        const dry = await car.kerb('obu', 'apply', output, '--dry-run');
        expect(dry).toMatchObject({ code: 0, out: expect.stringMatching(/\bcreate-and-start +b\b/) });
        const said = await car.kerb('obu', 'apply', output);
        expect(said.code).toBe(0);
        expect(await told()).toEqual({ a: 'Running(Ok)', b: 'Running(Ok)' });
        expect(said.err).not.toMatch(/ImageMissing/);
      }
    },
    300_000,
  );

  it('with a manifest that the OBU refuses loads nothing', async () => {
    await build(`${SMALL}:2`, 'two');
    const file = manifest(
      'grant',
      service(
        'b',
        `${SMALL}:2`,
        '    x-obu: { requires: [camera/front], grants: { cameras: [{ name: front, maxFps: 1 }] } }\n',
      ),
    );
    const output = join(folder, 'grant.tar');
    expect(await car.kerb('obu', 'bundle', file, '-o', output)).toMatchObject({ code: 0 });
    await car.kerb('obu', 'apply', manifest('before', service('a', `${SMALL}:1`)));
    await engine.calls.getImage(`${SMALL}:2`).remove({ force: true });
    const said = await car.kerb('obu', 'apply', output);
    expect(said).toMatchObject({ code: 1, err: expect.stringMatching(new RegExp(`\\[${ErrorCode.BadManifest} `)) });
    await expect(engine.calls.getImage(`${SMALL}:2`).inspect()).rejects.toMatchObject({ statusCode: 404 });
  });

  longIt('that does not fit on the disk of the engine changes nothing there', async (test) => {
    if (engine.kind === 'external' && !hasSharedEngine())
      test.skip('this machine has a Docker Engine of its own, whose disk is not ours to fill');
    await build(`${SMALL}:big`, randomBytes(40_000_000));
    const output = join(folder, 'big.tar');
    const file = manifest('big', service('a', `${SMALL}:big`));
    expect(await car.kerb('obu', 'bundle', file, '-o', output)).toMatchObject({ code: 0 });
    const small = new Obu('small');
    mkdirSync(small.state);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'kerb-test', small.state]);
    try {
      const { kind, host } = (await small.serve(ownEngine())).engine;
      const said = await small.kerb('obu', 'apply', output);
      expect(said).toMatchObject({
        code: 1,
        err: expect.stringMatching(new RegExp(`\\[${ErrorCode.DiskFull} `)),
      });
      expect((await getStatus<ObuStatus>(small.api, STATUS_MS)).workloads).toEqual([]);
      expect(await (await reachEngine(kind, host)).calls.listImages({ all: true })).toEqual([]);
      expect(await small.kerb('obu', 'get', 'manifest')).toMatchObject({ code: 1 });
    } finally {
      await small.stop();
      execFileSync('umount', [small.state]);
    }
  });
});

/** The small image as if it was for another machine. */
async function loadForeign(tag: string): Promise<void> {
  const saved = (await engine.streams.getImage(`${SMALL}:1`).get()) as Readable;
  const files = new Map<string, Buffer>();
  const tar = extract();
  saved.pipe(tar);
  for await (const entry of tar) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    if (entry.header.type === 'file') files.set(entry.header.name, Buffer.concat(chunks));
  }
  const [image] = JSON.parse(files.get('manifest.json')!.toString()) as [{ Config: string; Layers: string[] }];
  const config = JSON.stringify({ ...JSON.parse(files.get(image.Config)!.toString()), architecture: 's390x' });
  const name = `${createHash('sha256').update(config).digest('hex')}.json`;
  const out = pack();
  for (const layer of image.Layers) out.entry({ name: layer }, files.get(layer)!);
  out.entry({ name }, config);
  out.entry({ name: 'manifest.json' }, JSON.stringify([{ Config: name, RepoTags: [tag], Layers: image.Layers }]));
  out.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of out) chunks.push(chunk as Buffer);
  const answer = await engine.streams.loadImage(Readable.from([Buffer.concat(chunks)]));
  for await (const _ of answer as AsyncIterable<Buffer>);
}

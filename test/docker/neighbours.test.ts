import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseObuConfig } from '../../obu/config/config.ts';
import { stateLayout } from '../../obu/config/state-layout.ts';
import { type Engine, reachEngine } from '../../obu/engine/docker-client.ts';
import { buildWorkloadImage } from '../../obu/images/workload-image.ts';
import { type RunningObu, startObu } from '../../obu/main.ts';
import { getControl } from '../../shared/api/control-client.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { delimit } from '../../shared/protocol/framing.ts';
import { kerbside } from '../../shared/protocol/generated/gateway.js';
import { useSharedEngine } from '../support/machine/shared-engine.ts';
import { isLong, longIt, rows } from '../support/rounds.ts';
import { STATUS_MS } from '../support/status-ms.ts';
import { until } from '../support/until.ts';
import { TestCar } from './car.ts';

useSharedEngine();

// A name of its own: other files use the same engine.
const PROBE = 'kerbside-test-probe-neighbours:1';
const { ClientMessage } = kerbside.gateway.v1;
const hex = (...messages: kerbside.gateway.v1.ClientMessage.$Properties[]) =>
  Buffer.concat(messages.map((message) => delimit(ClientMessage.encode(message).finish()))).toString('hex');
const hello = { request: 1, hello: { version: 1, client: 'bad' } };
const everything = hex(
  hello,
  { request: 2, subscribeCan: { bus: 'can0' } },
  { request: 3, subscribeSignals: { paths: ['Vehicle.Speed'] } },
  // As much as there is, so that the socket is full soon.
  { request: 4, subscribeCamera: { camera: 'front', format: 2, width: 320, height: 240 } },
);
const grants = `
        can: [{ bus: can0, read: ["0:0"] }]
        signals: ["read:Vehicle.Speed"]
        cameras: [{ name: front, maxFps: 10 }]
        offload: { tasks: [dashcam-filter], maxBudgetMs: 5000 }`;
const bad = (name: string, rest = 'mem_limit: 96m', xObu = '', cpus = 0.1) => `
  ${name}:
    image: ${PROBE}
    command: [node, /app/bad.ts, ${name}]
    environment: { BYTES: "${name === 'reads-nothing' ? everything : hex(hello)}", ASK: "${hex({ request: 7, unsubscribe: {} })}" }
    cpus: ${cpus}
    ${rest}
    x-obu: { priority: 900, ${xObu}grants: { can: [{ bus: can0, read: ["0:0"] }], signals: ["read:Vehicle.Speed"], cameras: [{ name: front, maxFps: 10 }] } }`;
/** What they do at the gateway, and what is said of it. Each alone is in obu/gateway/hostile.test.ts. */
const atTheGateway = rows(2, [
  ['reads-nothing', 'ReadsNothing'],
  ['storms', 'TooManyRequests'],
  ['garbage', 'BadProtocolMessage'],
  ['says-half', 'KeptWaiting'],
  ['asks', 'BadGatewayRequest'],
] as const);
// The good one is of the lowest priority: nobody is to need one to be served.
const manifest = `
services:
  good:
    image: ${PROBE}
    command: [node, /app/neighbour.ts]
    mem_limit: 128m
    cpus: 0.5
    x-obu:
      priority: 0
      grants:${grants}
${atTheGateway.map(([name]) => bad(name)).join('')}
${bad('prints', undefined, '', 0.05)}
${bad('forks', 'mem_limit: 256m\n    pids_limit: 30')}
${isLong ? bad('fills-disk', 'mem_limit: 96m', 'data: 8m, ') + bad('eats-memory', 'restart: "no"') : ''}
`;

const car = new TestCar();
const state = mkdtempSync(join(tmpdir(), 'kerb-neighbours-'));
let obu: RunningObu;
let engine: Engine;

beforeAll(async () => {
  execFileSync('tools/build-app-sdk.sh');
  await car.start();
  const sizes = {
    capacity: { memory: '1536m', cpus: 4 },
    reserve: { memory: '256m', cpus: 0.25 },
    // How busy the machine of the tests is has no say here.
    pressure: { memory: 100, cpu: 100 },
  };
  const config = parseObuConfig(
    JSON.stringify({ ...JSON.parse(car.config()), ...sizes }),
    join(car.folder, 'obu.yaml'),
  );
  const file = { text: manifest, file: 'test.compose.yaml' };
  obu = await startObu({ config, manifest: file, state, api: join(state, 'api.sock'), log: silentLog() });
  const { kind, host } = obu.status().engine;
  engine = await reachEngine(kind, host);
  await buildWorkloadImage(engine, join(import.meta.dirname, 'probe'), PROBE, () => {});
});

afterAll(async () => {
  await obu?.stop();
  await engine?.calls
    .getImage(PROBE)
    .remove({ force: true })
    .catch(() => {});
  await car.stop();
  await rm(state, { recursive: true, force: true });
});

const good = (): Record<string, number> => {
  const file = join(state, 'data', 'good', 'neighbour.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>) : {};
};
const stateOf = (workload: string) => {
  const { state: word, detail, reason } = obu.status().workloads.find(({ name }) => name === workload)!;
  return { word: `${word}(${detail})`, reason };
};

/** More of everything, and nothing lost on the way. */
async function isServed(): Promise<void> {
  const before = { frames: 0, signals: 0, pictures: 0, answers: 0, ...good() };
  await until(
    'more frames, signals, pictures and answers',
    () => (['frames', 'signals', 'pictures', 'answers'] as const).every((kind) => good()[kind]! > before[kind]),
    () => ({ before, now: good() }),
  );
  expect(good()).toMatchObject({ framesDropped: 0, signalsDropped: 0 });
  expect(stateOf('good').word).toBe('Running(Ok)');
}

async function untilNamed(workload: string, reason: keyof typeof ErrorCode): Promise<void> {
  const errors = () => obu.status().errors.filter(({ source }) => source === `workload ${workload}`);
  await until(
    `an error ${reason} of ${workload}`,
    () => errors().some(({ code }) => code === ErrorCode[reason]),
    errors,
  );
  expect(await getControl(join(state, 'api.sock'), '/metrics', STATUS_MS)).toMatch(
    new RegExp(`obu_workload_faults_total\\{workload="${workload}",reason="${reason}"\\} [1-9]`),
  );
}

const untilState = (workload: string, wanted: string) =>
  until(
    `${workload} is ${wanted}`,
    () => stateOf(workload).word === wanted,
    () => stateOf(workload),
  );

describe('with all of these at once, each is named and the good one is served on:', () => {
  let startedAgain: Promise<unknown> | undefined;

  longIt('fills-disk is stopped with the reason', async () => {
    await untilState('fills-disk', 'Failed(DataFull)');
    expect(stateOf('fills-disk').reason).toContain('8 MiB');
    const named = () =>
      obu.status().errors.some(({ source, message }) => source === 'workload fills-disk' && message.includes('8 MiB'));
    await until('an error of fills-disk', named);
    await isServed();
    await rm(join(state, 'data', 'fills-disk'), { recursive: true });
    startedAgain = until('fills-disk is no longer full', () => stateOf('fills-disk').word !== 'Failed(DataFull)');
    startedAgain.catch(() => {}); // told by the test that waits for it
  });

  it.each([...atTheGateway, ['forks', 'TooManyProcesses'] as const])('%s', async (workload, reason) => {
    await untilNamed(workload, reason);
    await isServed();
  });

  longIt('eats-memory, which declares no limit, gets no more than the others leave', async () => {
    await untilState('eats-memory', 'Failed(OutOfMemory)');
    expect(stateOf('eats-memory').reason).toContain('than the others leave');
    await isServed();
  });

  it('prints, as fast as it can, is read, and what is kept of it stays small', async () => {
    const lastLine = () => obu.status().workloads.find(({ name }) => name === 'prints')!.lastLine;
    await until('a line of it', () => lastLine().startsWith('never'), lastLine);
    await isServed();
    expect(stateOf('prints').word).toBe('Running(Ok)');
    const { calls } = engine;
    const label = [`kerbside.owner=obu-1/${stateLayout(state).stateHash}`, 'kerbside.workload=prints'];
    const [container] = await calls.listContainers({ filters: { label } });
    const { HostConfig } = await calls.getContainer(container!.Id).inspect();
    expect(HostConfig.LogConfig).toEqual({ Type: 'json-file', Config: { 'max-file': '2', 'max-size': '1m' } });
  });

  longIt('fills-disk is started again when somebody has made room', async () => {
    expect(startedAgain).toBeDefined();
    await startedAgain;
    await isServed();
  });

  it('and none of the others had to make room for them, or was ended', async () => {
    const ended = obu.status().workloads.filter(({ restarts }) => restarts > 0);
    expect(ended.map(({ name }) => name)).not.toContain('good');
    const report = good();
    await isServed();
    expect(good().frames).toBeGreaterThan(report.frames!);
  });

  it('all of them together may not use what is kept for the OBU', () => {
    const { stateHash } = stateLayout(state);
    const limit = [`memory/kerbside-${stateHash}/memory.limit_in_bytes`, `kerbside-${stateHash}/memory.max`]
      .map((file) => join('/sys/fs/cgroup', file))
      .find(existsSync);
    expect(Number(readFileSync(limit!, 'utf8'))).toBe((1536 - 256) * 2 ** 20);
  });
});

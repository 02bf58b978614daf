import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type StateLayout, stateLayout } from '../../obu/config/state-layout.ts';
import { type Engine, reachEngine } from '../../obu/engine/docker-client.ts';
import { processesWith, signal } from '../../obu/engine/processes.ts';
import { buildWorkloadImage } from '../../obu/images/workload-image.ts';
import { getStatus } from '../../shared/api/control-client.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { longIt } from '../support/rounds.ts';
import { STATUS_MS } from '../support/status-ms.ts';
import { until } from '../support/until.ts';
import { TestCar } from './car.ts';

const PROBE = 'kerbside-test-probe:1';
const manifest = `
services:
  follow:
    image: ${PROBE}
    environment: { MODE: follow }
    restart: always
    x-obu: { grants: { signals: ["read:Vehicle.Speed"] } }
`;

const car = new TestCar();
const state = mkdtempSync(join(tmpdir(), 'kerb-crash-'));
const api = join(state, 'api.sock');
let layout: StateLayout;
let kerb: ChildProcess | undefined;
let engine: Engine;

beforeAll(async () => {
  execFileSync('tools/build-app-sdk.sh');
  await car.start();
  layout = stateLayout(state);
  writeFileSync(join(car.folder, 'obu.yaml'), car.config());
  writeFileSync(join(car.folder, 'car.compose.yaml'), manifest);
});

afterAll(async () => {
  if (kerb?.exitCode === null) await end('SIGTERM');
  if (engine?.kind === 'external') await engine.calls.getImage(PROBE).remove({ force: true });
  await car.stop();
  await rm(state, { recursive: true, force: true });
});

async function serve(config = 'obu.yaml'): Promise<ObuStatus> {
  const files = ['--config', join(car.folder, config), '--manifest', join(car.folder, 'car.compose.yaml')];
  const args = ['cli/kerb.ts', 'obu', 'serve', ...files, '--state', state, '--api', api];
  kerb = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  kerb.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
  });
  const daemon = kerb;
  const look = () => {
    if (daemon.exitCode !== null) throw new Error(`kerb obu serve ended with ${daemon.exitCode}: ${said}`);
    return getStatus<ObuStatus>(api).catch(() => undefined);
  };
  return until('kerb obu serve answers', look, () => said);
}

async function end(name: NodeJS.Signals): Promise<void> {
  const ended = new Promise((resolve) => kerb!.once('exit', resolve));
  kerb!.kill(name);
  await ended;
}

function followed(): { count: number; timeUs: number } {
  const file = join(state, 'data', 'follow', 'follow.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { count: 0, timeUs: 0 };
}

async function containers(): Promise<string[]> {
  const label = [`kerbside.owner=obu-1/${layout.stateHash}`];
  return (await engine.calls.listContainers({ all: true, filters: { label } })).map(({ Id }) => Id);
}

/** A value that left the car after now has reached the container. */
async function untilFollowing(): Promise<void> {
  const nowUs = Date.now() * 1000;
  await until('a value that left the car after now', () => followed().timeUs >= nowUs, followed);
}

it('a workload runs on while its OBU is killed, and goes on with the next OBU in the same container', async () => {
  const { engine: found } = await serve();
  engine = await reachEngine(found.kind, found.host);
  await buildWorkloadImage(engine, join(import.meta.dirname, 'probe'), PROBE, () => {});
  await untilFollowing();
  const before = await containers();
  const countBefore = followed().count;

  await end('SIGKILL');
  expect((await engine.calls.getContainer(before[0]!).inspect()).State.Running).toBe(true);

  // A start that fails takes nothing from a container that still runs.
  writeFileSync(join(car.folder, 'broken.yaml'), car.config().replace('car.dbc', 'absent.dbc'));
  await expect(serve('broken.yaml')).rejects.toThrow(/absent\.dbc/);

  const status = await serve();
  expect(status.engine).toEqual(found);
  await untilFollowing();
  expect(await containers()).toEqual(before);
  // One process has counted all along: its SDK came back by itself.
  expect(followed().count).toBeGreaterThan(countBefore);
});

longIt('is served as before while its private engine hangs, which the status says', async (context) => {
  const { kind } = (await getStatus<ObuStatus>(api, STATUS_MS)).engine;
  if (kind === 'external') context.skip('this machine has a Docker Engine of its own, which is not ours to stop');
  const before = await containers();
  const pid = Number(readFileSync(layout.engine.pidFile, 'utf8'));
  const fault = async () => (await getStatus<ObuStatus>(api, STATUS_MS)).engine.fault;
  signal(pid, 'SIGSTOP');
  try {
    await until('an engine that does not answer', async () => (await fault()).startsWith('no answer for'), fault);
    await untilFollowing();
  } finally {
    signal(pid, 'SIGCONT');
  }
  await until(
    'no fault of the engine',
    async () => (await fault()) === '',
    () => '',
  );
  expect(await containers()).toEqual(before);
});

it('comes back after its private engine was killed', async (context) => {
  const { kind } = (await getStatus<ObuStatus>(api, STATUS_MS)).engine;
  if (kind === 'external') context.skip('this machine has a Docker Engine of its own, which is not ours to kill');
  const before = await containers();
  signal(Number(readFileSync(layout.engine.pidFile, 'utf8')), 'SIGKILL');
  await until('one container, a new one', async () => {
    const now = await containers().catch(() => []);
    return now.length === 1 && now[0] !== before[0];
  });
  await untilFollowing();
  const { workloads, errors } = await until('follow is seen to run', async () => {
    const status = await getStatus<ObuStatus>(api, STATUS_MS);
    return status.workloads[0]?.state === 'Running' && status;
  });
  // That was not the workload's failure.
  expect(workloads[0]).toMatchObject({ name: 'follow', state: 'Running', restarts: 0 });
  // It ended, which is another thing than that it did not answer.
  const message = expect.stringContaining('ended by itself');
  expect(errors).toContainEqual(
    expect.objectContaining({ source: 'engine', code: ErrorCode.EngineUnavailable, message }),
  );
});

it('leaves nothing behind when it is asked to stop', async () => {
  await end('SIGTERM');
  expect(kerb!.exitCode).toBe(0);
  expect(processesWith(layout.runtime)).toEqual([]);
  expect(existsSync(layout.runtime)).toBe(false);
  expect(existsSync(api)).toBe(false);
  expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(state);
});

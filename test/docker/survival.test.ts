import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { signal } from '../../obu/engine/processes.ts';
import type { Workload } from '../../obu/manifest/workload.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { longIt, rows } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { buildImage, busyWorkload, newState, Runtime } from './runtime.ts';

const MIB = 2 ** 20;
const config =
  'capacity: { memory: 512m, cpus: 1 }\nreserve: { memory: 0, cpus: 0 }\npressure: { memory: 100, cpu: 100 }';
const state = newState();
const runtime = new Runtime(state, config);
let child: ChildProcess | undefined;

const low = busyWorkload({ name: 'low', priority: 100, preemption: 'freeze', memLimit: 64 * MIB, cpus: 0.5 });
const high = busyWorkload({ name: 'high', priority: 900, memLimit: 64 * MIB, cpus: 0.75 });

beforeAll(async () => {
  await runtime.start();
  await buildImage(runtime.engine);
});

afterAll(async () => {
  child?.kill('SIGKILL');
  await runtime.stop();
  await rm(state, { recursive: true, force: true });
});

async function run(workloads: readonly Workload[]): Promise<void> {
  const args = [join(import.meta.dirname, 'runtime-child.ts'), state, JSON.stringify(workloads), config];
  child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    child!.stdout!.once('data', () => resolve());
    child!.once('exit', (code) => reject(new Error(`the runtime ended with ${code}`)));
  });
}

async function kill(): Promise<void> {
  const ended = new Promise((resolve) => child!.once('exit', resolve));
  child!.kill('SIGKILL');
  await ended;
}

it('an engine that hangs is said so, and when it goes on everything is as before', async (context) => {
  if (runtime.engine.kind === 'external')
    context.skip('this machine has a Docker Engine of its own, which is not ours to stop');
  runtime.apply(low);
  await runtime.until('low', 'Running(Ok)');
  const before = await runtime.container('low');
  const pid = Number(readFileSync(runtime.layout.engine.pidFile, 'utf8'));
  signal(pid, 'SIGSTOP');
  try {
    // The kernel stops one thread after the other.
    const threads = () =>
      readdirSync(`/proc/${pid}/task`).map((id) => readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8'));
    await until('the engine has stopped', () => threads().every((stat) => /\) T /.test(stat)));
    runtime.apply(low, high);
    await until(
      'an engine that does not answer',
      () => runtime.reconciler.engineFault.startsWith('no answer for'),
      () => runtime.reconciler.engineFault,
    );
    expect(runtime.errors.list()).toContainEqual(
      expect.objectContaining({ source: 'engine', code: ErrorCode.EngineUnavailable }),
    );
    // What is known is still said, and the container itself does not need the engine.
    expect(runtime.word('low')).toBe('Running(Ok)');
    expect(readFileSync(`/proc/${before.State.Pid}/stat`, 'utf8')).not.toMatch(/\) [TZ] /);
  } finally {
    signal(pid, 'SIGCONT');
  }
  await runtime.until('high', 'Running(Ok)');
  await runtime.until('low', 'Frozen(high)');
  expect(runtime.reconciler.engineFault).toBe('');
  expect((await runtime.container('low')).Id).toBe(before.Id);
  runtime.apply();
  await runtime.untilGone('low', 'high');
});

longIt('after SIGKILL it goes on with the same containers, and knows why they are as they are', async () => {
  // The first runtime hands its engine over to others: only its engine is needed from here on.
  await runtime.reconciler.stop();
  const last = runtime;

  const comesAbout = (what: string, test: () => Promise<boolean>) => until(what, () => test().catch(() => false));
  await run([low]);
  await comesAbout('low runs', async () => (await last.container('low')).State.Running);
  await kill();
  await run([low, high]);
  const [runs, paused] = [
    async () => (await last.container('high')).State.Running,
    async () => (await last.container('low')).State.Paused,
  ];
  await comesAbout('high runs and low is paused', async () => (await runs()) && (await paused()));
  await comesAbout('low knows who took its room', async () => last.store.load().get('low')?.preempted?.by === 'high');
  const before = [await last.container('low'), await last.container('high')];
  await kill();

  // Killed again and again while it comes up, it never loses or doubles anything.
  for (const ms of rows(1, [50, 0, 200])) {
    await run([low, high]);
    await sleep(ms);
    await kill();
  }
  const now = [await last.container('low'), await last.container('high')];
  const idAndStart = (one: (typeof now)[0]) => [one.Id, one.State.StartedAt, one.State.Paused];
  expect(now.map(idAndStart)).toEqual(before.map(idAndStart));

  // Somebody froze it: without its memory, the next one would not dare to thaw it.
  await run([low]);
  await comesAbout('low is not paused', async () => !(await paused()));
  expect((await last.container('low')).Id).toBe(before[0]!.Id);
  expect(await last.containers('high')).toEqual([]);
  await kill();
});

it('leaves its containers to the next one when that is wanted, on an engine that stays', async () => {
  const folder = newState();
  vi.stubEnv('DOCKER_HOST', runtime.engine.host);
  try {
    const first = new Runtime(folder, `${config}\nonStop: keep`);
    await first.start([low]);
    await first.until('low', 'Running(Ok)');
    const before = await first.container('low');
    await first.leave();
    expect((await first.container('low')).State.Running).toBe(true);

    const second = new Runtime(folder, config);
    await second.start([low]);
    await second.until('low', 'Running(Ok)');
    expect((await second.container('low')).Id).toBe(before.Id);
    await second.stop();
    expect(await second.containers('low')).toEqual([]);
  } finally {
    vi.unstubAllEnvs();
    await rm(folder, { recursive: true, force: true });
  }
});

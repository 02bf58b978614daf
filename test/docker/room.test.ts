import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { weightsOf } from '../../obu/planner/weights.ts';
import { buildImage, busyWorkload, newState, Runtime } from './runtime.ts';

const state = newState();
// What the machine of the tests is under has no say here.
const pressure = 'pressure: { memory: 100, cpu: 100 }';
const sizes = 'capacity: { memory: 768m, cpus: 2 }\nreserve: { memory: 256m, cpus: 0.5 }';
const runtime = new Runtime(state, `${sizes}\n${pressure}`);
const MIB = 2 ** 20;

beforeAll(async () => {
  await runtime.start();
  await buildImage(runtime.engine);
});

afterAll(async () => {
  await runtime.stop();
  await rm(state, { recursive: true, force: true });
});

afterEach(async () => {
  runtime.apply();
  await runtime.untilGone('low', 'bulk', 'high', 'huge');
});

const low = busyWorkload({ name: 'low', priority: 100, preemption: 'freeze', memLimit: 64 * MIB, cpus: 1 });
const bulk = busyWorkload({ name: 'bulk', priority: 200, preemption: 'stop', memLimit: 300 * MIB, cpus: 0.1 });
const high = busyWorkload({ name: 'high', priority: 900, memLimit: 256 * MIB, cpus: 1 });

describe('a workload of higher priority that does not fit', () => {
  it('gets room from lower ones as each allows it, and gives it back', async () => {
    runtime.apply(low, bulk);
    await runtime.until('low', 'Running(Ok)');
    await runtime.until('bulk', 'Running(Ok)');
    const lowBefore = await runtime.container('low');

    const { steps } = await runtime.reconciler.planNow(
      [low, bulk, high].map((workload) => ({ workload, configHash: workload.name })),
    );
    expect(steps.map(({ step }) => step)).toContain('create-and-start');
    expect(runtime.word('high')).toBe('Pending(Starting)');

    runtime.apply(low, bulk, high);
    await runtime.until('high', 'Running(Ok)');
    expect(await runtime.until('low', 'Frozen(high)')).toMatch(/frozen to make room for high \(priority 900\)/);
    expect(await runtime.until('bulk', 'Pending(NoCapacity)', /it needs/)).toMatch(
      /stopped to make room for high .*; it needs 300 MiB and 0\.1 CPUs; 192 MiB and 0\.5 CPUs of 512 MiB and 1\.5 CPUs are free/,
    );
    const frozen = await runtime.container('low');
    expect([frozen.Id, frozen.State.Paused]).toEqual([lowBefore.Id, true]);
    expect(await runtime.containers('bulk')).toEqual([]);

    expect(runtime.preemptions.sort()).toEqual([
      ['bulk', 'high'],
      ['low', 'high'],
    ]);

    runtime.apply(low, bulk);
    await runtime.until('low', 'Running(Ok)');
    await runtime.until('bulk', 'Running(Ok)');
    const thawed = await runtime.container('low');
    expect([thawed.Id, thawed.State.Paused]).toEqual([lowBefore.Id, false]);
  });

  it('waits with the numbers when nothing lower can help, and the lower ones run on', async () => {
    runtime.apply(low);
    await runtime.until('low', 'Running(Ok)');
    runtime.apply(low, busyWorkload({ name: 'huge', priority: 1000, memLimit: 1024 * MIB, cpus: 0.1 }));
    expect(await runtime.until('huge', 'Pending(NoCapacity)')).toMatch(
      /it needs 1024 MiB and 0\.1 CPUs; 448 MiB and 0\.5 CPUs of 512 MiB and 1\.5 CPUs are free, which will never be enough/,
    );
    expect(runtime.word('low')).toBe('Running(Ok)');
  });
});

it('a change of priority changes the weights of the running container', async () => {
  runtime.apply(high);
  await runtime.until('high', 'Running(Ok)');
  const before = await runtime.container('high');
  const oomScore = () => Number(readFileSync(`/proc/${before.State.Pid}/oom_score_adj`, 'utf8'));
  expect(before.HostConfig.CpuShares).toBe(weightsOf(900).cpuShares);
  expect(oomScore()).toBe(100);

  runtime.apply({ ...high, priority: 10 });
  while ((await runtime.container('high')).HostConfig.CpuShares !== weightsOf(10).cpuShares) await sleep(50);
  while (oomScore() !== 990) await sleep(50);
  const after = await runtime.container('high');
  expect([after.Id, after.State.StartedAt]).toEqual([before.Id, before.State.StartedAt]);
});

it('what a person froze stays frozen until a person thaws it', async () => {
  runtime.apply(high);
  await runtime.until('high', 'Running(Ok)');
  runtime.reconciler.freeze('high');
  expect(await runtime.until('high', 'Frozen(person)')).toMatch(/a person froze it at 20/);
  while (!(await runtime.container('high')).State.Paused) await sleep(50);
  expect(runtime.store.load().get('high')?.frozenSinceMs).toEqual(expect.any(Number));
  runtime.reconciler.thaw('high');
  await runtime.until('high', 'Running(Ok)');
  expect((await runtime.container('high')).State.Paused).toBe(false);
  expect(() => runtime.reconciler.freeze('nobody')).toThrow(/there is no workload "nobody"; there is high/);
});

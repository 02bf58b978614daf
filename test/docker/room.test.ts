import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { weightsOf } from '../../obu/planner/resources/weights.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { useSharedEngine } from '../support/machine/shared-engine.ts';
import { until } from '../support/until.ts';
import { buildImage, busyWorkload, newState, Runtime } from './runtime.ts';

useSharedEngine();

const state = newState();
// What the machine of the tests is under has no say here.
const pressure = 'pressure: { memory: 100, cpu: 100 }';
const sizes = 'capacity: { memory: 768m, cpus: 2 }\nreserve: { memory: 256m, cpus: 0.5 }';
const runtime = new Runtime(state, `${sizes}\n${pressure}`);
const MIB = 2 ** 20;
/** The quantities in a reason, in their order. */
const numbersOf = (reason: string) => reason.match(/[\d.]+ (MiB|CPUs)/g);

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
    expect(await runtime.until('low', 'Frozen(high)')).toContain('900');
    // Who needs the room, and the numbers: what it needs, what is free of what there is.
    expect(numbersOf(await runtime.until('bulk', 'Pending(NoCapacity)', /high.*192 MiB/))).toEqual(
      expect.arrayContaining(['300 MiB', '0.1 CPUs', '192 MiB', '0.5 CPUs', '512 MiB', '1.5 CPUs']),
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
    const reason = await runtime.until('huge', 'Pending(NoCapacity)');
    expect(reason).toContain('never');
    expect(numbersOf(reason)).toEqual(['1024 MiB', '0.1 CPUs', '448 MiB', '0.5 CPUs', '512 MiB', '1.5 CPUs']);
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
  const shares = async () => (await runtime.container('high')).HostConfig.CpuShares;
  await until('the CPU shares of priority 10', async () => (await shares()) === weightsOf(10).cpuShares);
  await until('the oom score of priority 10', () => oomScore() === 990, oomScore);
  const after = await runtime.container('high');
  expect([after.Id, after.State.StartedAt]).toEqual([before.Id, before.State.StartedAt]);
});

it('what a person froze stays frozen until a person thaws it', async () => {
  runtime.apply(high);
  await runtime.until('high', 'Running(Ok)');
  runtime.reconciler.freeze('high');
  await runtime.until('high', 'Frozen(person)');
  await until('high is paused', async () => (await runtime.container('high')).State.Paused);
  expect(runtime.store.load().get('high')?.frozenSinceMs).toEqual(expect.any(Number));
  runtime.reconciler.thaw('high');
  await runtime.until('high', 'Running(Ok)');
  expect((await runtime.container('high')).State.Paused).toBe(false);
  expect(() => runtime.reconciler.freeze('nobody')).toThrow(
    expect.objectContaining({ code: ErrorCode.UnknownWorkload, message: expect.stringMatching(/nobody.*high/) }),
  );
});

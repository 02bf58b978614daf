import { describe, expect, it } from 'vitest';
import {
  container,
  containerOf,
  desired,
  kinds,
  MIB,
  NOW,
  ObedientEngine,
  planOf,
} from '../../test/support/planner-scene.ts';
import type { Workload } from '../manifest/workload.ts';
import { HOLD_MS } from './admit.ts';
import { LEAST_CPU_SHARES, weightsOf } from './resources/weights.ts';
import { newRecord } from './restart.ts';
import type { ObservedContainer, Preempted, WorkloadRecord } from './state.ts';

const sized = (name: string, priority: number, memory: number, cpus: number, extra: Partial<Workload> = {}) =>
  desired(name, { priority, memLimit: memory * MIB, cpus, ...extra });
const up = (one: ReturnType<typeof desired>, extra: Partial<ObservedContainer> = {}) =>
  containerOf(one, { health: 'healthy', ...extra });
const capacity = { memory: 512 * MIB, cpus: 2 };

const freezable = sized('low', 100, 200, 1, { preemption: 'freeze' });
const stoppable = sized('low', 100, 200, 1, { preemption: 'stop' });
const sacred = sized('low', 100, 200, 1, { preemption: 'never' });

describe('room for a higher one', () => {
  it('in CPU is made by freezing, and the reason has the numbers', () => {
    const high = sized('high', 900, 100, 1.5);
    const result = planOf({ desired: [freezable, high], containers: [up(freezable)], capacity });
    expect(kinds(result.steps)).toEqual(['freeze id-low', 'create-and-start high']);
    expect(result.states.get('low')).toEqual({
      ...{ state: 'Frozen', detail: 'high' },
      reason:
        'it was frozen to make room for high (priority 900), for which 0.5 CPUs of 512 MiB and 2 CPUs were missing',
    });
    expect(result.used).toEqual({ memory: 300 * MIB, cpus: 1.5 });
  });

  it('in memory is not made by freezing', () => {
    const high = sized('high', 900, 400, 0.5);
    const waits = planOf({ desired: [freezable, high], containers: [up(freezable)], capacity });
    expect(kinds(waits.steps)).toEqual([]);
    expect(waits.states.get('high')).toMatchObject({
      ...{ state: 'Pending', detail: 'NoCapacity' },
      reason:
        'it needs 400 MiB and 0.5 CPUs; 312 MiB and 1 CPU of 512 MiB and 2 CPUs are free, and what of lower priority ' +
        'may be frozen or stopped does not make enough room',
    });
    const stops = planOf({ desired: [stoppable, high], containers: [up(stoppable)], capacity });
    expect(kinds(stops.steps)).toEqual(['stop id-low', 'create-and-start high']);
  });

  it.each([
    ['never allows it', sacred, 900],
    ['has the same priority', stoppable, 100],
    ['has a higher priority', stoppable, 0],
  ])('is not taken from one that %s', (_why, holder, priority) => {
    const result = planOf({ desired: [holder, sized('new', priority, 400, 0.5)], containers: [up(holder)], capacity });
    expect(kinds(result.steps)).toEqual([]);
    expect(result.states.get('new')?.detail).toBe('NoCapacity');
  });

  it('is not taken from what it depends on', () => {
    const high = sized('high', 900, 400, 0.5, { dependsOn: [{ workload: 'low', condition: 'started' }] });
    expect(kinds(planOf({ desired: [stoppable, high], containers: [up(stoppable)], capacity }).steps)).toEqual([]);
  });

  it('counts what is not declared, and says so', () => {
    const high = desired('high', { priority: 900 });
    const result = planOf({ desired: [high], capacity: { memory: 10 * MIB, cpus: 2 } });
    expect(result.states.get('high')?.reason).toBe(
      'it needs 64 MiB and 0.1 CPUs (it declares no mem_limit and no cpus, so that is what it counts as); ' +
        '10 MiB and 2 CPUs of 10 MiB and 2 CPUs are free, which will never be enough',
    );
  });

  it('is kept while it waits to be started again', () => {
    const high = sized('high', 900, 400, 1.5);
    const memory = new Map([['high', { ...newRecord, version: { ...high, imageId: 'image-high' } }]]);
    const ended = up(high, { state: 'exited', exitCode: 1, finishedAtMs: NOW });
    const result = planOf({ desired: [stoppable, high], containers: [ended], memory, capacity });
    expect(kinds(result.steps)).toEqual(['remove id-high']);
    expect(result.states.get('low')?.detail).toBe('NoCapacity');
  });

  it('is not filled by lower ones that would not give it back', () => {
    const holder = sized('holder', 1000, 200, 0.5, { preemption: 'never' });
    const high = sized('high', 900, 400, 1);
    const scene = { containers: [up(holder)], capacity };
    expect(kinds(planOf({ ...scene, desired: [holder, high, stoppable] }).steps)).toEqual(['create-and-start low']);
    for (const other of [sacred, freezable]) {
      const result = planOf({ ...scene, desired: [holder, high, other] });
      expect(kinds(result.steps)).toEqual([]);
      expect(result.states.get('low')?.reason).toMatch(/are free, and that is kept for high/);
    }
  });

  it('is made when the machine has become smaller', () => {
    const result = planOf({
      desired: [stoppable],
      containers: [up(stoppable)],
      capacity: { memory: 100 * MIB, cpus: 2 },
    });
    expect(kinds(result.steps)).toEqual(['stop id-low']);
    expect(result.states.get('low')?.reason).toBe(
      'it was stopped because 100 MiB more than the 100 MiB and 2 CPUs for workloads were in use',
    );
  });
});

describe('room that is there again', () => {
  const preempted: Preempted = {
    ...{ how: 'freeze', cause: 'capacity', by: 'high', why: 'it was frozen', atMs: NOW - 60_000 },
    roomSinceMs: undefined,
  };
  const memory = (extra: Partial<Preempted>): ReadonlyMap<string, WorkloadRecord> =>
    new Map([['low', { ...newRecord, preempted: { ...preempted, ...extra } }]]);
  const paused = up(freezable, { state: 'paused' });

  it('is given back after it has been there for a while', () => {
    const scene = { desired: [freezable], containers: [paused], capacity };
    const first = planOf({ ...scene, memory: memory({}) });
    expect(first.steps).toEqual([expect.objectContaining({ step: 'wait', untilMs: NOW + HOLD_MS })]);
    const later = planOf({ ...scene, memory: first.records, nowMs: NOW + HOLD_MS });
    expect(kinds(later.steps)).toEqual(['thaw id-low']);
    // It is back when it is seen to be; until then a killed OBU must know that it is its own to thaw.
    expect(later.records.get('low')?.preempted).toBeDefined();
    const back = planOf({ ...scene, containers: [up(freezable)], memory: later.records, nowMs: NOW + HOLD_MS });
    expect(back.records.get('low')?.preempted).toBeUndefined();
  });

  it('has to be there all the time', () => {
    const blocker = sized('blocker', 1000, 100, 1.5);
    const scene = { desired: [freezable, blocker], containers: [paused, up(blocker)], capacity };
    const result = planOf({ ...scene, memory: memory({ roomSinceMs: NOW - HOLD_MS }) });
    expect(kinds(result.steps)).toEqual([]);
    expect(result.records.get('low')?.preempted?.roomSinceMs).toBeUndefined();
    expect(result.states.get('low')).toMatchObject({ state: 'Frozen', detail: 'high' });
    expect(result.states.get('low')?.reason).toMatch(/it was frozen; it needs 1 CPU; 212 MiB and 0\.5 CPUs of/);
  });

  it('goes to the highest first', () => {
    const names = ['a', 'b', 'c'];
    const lows = names.map((name, i) => sized(name, 100 + i, 100, 1, { preemption: 'freeze' }));
    const high = sized('high', 900, 100, 2);
    const engine = new ObedientEngine({ desired: [lows[2]!, lows[1]!], containers: [], capacity });
    engine.settle(50);
    engine.desired = [...lows, high];
    engine.settle(50);
    engine.desired = lows;
    engine.settle(50);
    expect(
      engine.containers
        .filter(({ state }) => state === 'running')
        .map(({ workload }) => workload)
        .sort(),
    ).toEqual(['b', 'c']);
  });
});

describe('pressure that was not planned', () => {
  const high = sized('high', 900, 100, 0.5);
  const free = desired('free', { priority: 500, preemption: 'freeze' });
  const scene = { desired: [freezable, free, high], containers: [up(freezable), up(free), up(high)], capacity };

  it('first gives the least weight to what is less important and may be touched', () => {
    const result = planOf({ ...scene, pressure: { memory: 0, cpu: 1 } });
    expect(kinds(result.steps)).toEqual(['weigh id-free', 'weigh id-low']);
    expect(result.steps).toEqual([
      expect.objectContaining({ throttled: true }),
      expect.objectContaining({ throttled: true }),
    ]);
    expect(weightsOf(500, true).cpuShares).toBe(LEAST_CPU_SHARES);
    const spared = { ...scene, desired: [sacred, high], containers: [up(sacred), up(high)] };
    expect(planOf({ ...spared, pressure: { memory: 0, cpu: 1 } }).steps).toEqual([]);
  });

  it('then freezes or stops one after the other: for the CPU only what declares no limit', () => {
    const throttled = scene.containers.map((one) => (one.workload === 'high' ? one : { ...one, cpuShares: 2 }));
    const result = planOf({ ...scene, containers: throttled, pressure: { memory: 0, cpu: 3 } });
    expect(kinds(result.steps)).toEqual(['freeze id-free']);
    expect(result.states.get('free')).toMatchObject({ state: 'Frozen', detail: 'cpu-pressure' });
    const declared = { desired: [freezable, high], containers: [throttled[0]!, throttled[2]!], capacity };
    expect(kinds(planOf({ ...declared, pressure: { memory: 0, cpu: 3 } }).steps)).toEqual([]);
  });

  it('stops for memory, the lowest first, and gives back when the level falls', () => {
    const [a, b] = [sized('a', 100, 100, 0.1), sized('b', 200, 100, 0.1)];
    const least = (one: typeof a) => up(one, { cpuShares: LEAST_CPU_SHARES });
    const first = planOf({
      desired: [a, b, high],
      containers: [least(a), least(b), up(high)],
      capacity,
      pressure: { memory: 2, cpu: 0 },
    });
    expect(kinds(first.steps)).toEqual(['stop id-a']);
    const out = planOf({
      desired: [a, b, high],
      containers: [least(b), up(high)],
      capacity,
      memory: first.records,
      pressure: { memory: 2, cpu: 0 },
    });
    expect(kinds(out.steps)).toEqual([]);
    expect(out.states.get('a')).toMatchObject({
      state: 'Pending',
      reason: expect.stringMatching(/memory pressure went on/),
    });
    const back = planOf({
      desired: [a, b, high],
      containers: [least(b), up(high)],
      capacity,
      memory: first.records,
      pressure: { memory: 1, cpu: 0 },
    });
    expect(kinds(back.steps)).toEqual(['wait a']);
  });

  it('of the CPU stops nobody who uses none, and brings back whom it stopped when it is gone', () => {
    const high = sized('high', 900, 100, 1);
    const idle = desired('idle', { priority: 0, preemption: 'stop' });
    const busy = desired('busy', { priority: 100, preemption: 'stop', restart: { policy: 'no' } });
    const all = { desired: [high, idle, busy], containers: [up(high), up(idle), up(busy)] };
    const level = (cpu: number) => ({ pressure: { memory: 0, cpu } });
    const stops = (cpuUse?: ReadonlyMap<string, number>) => {
      const { steps } = planOf({ ...all, ...level(3), ...(cpuUse && { cpuUse }) });
      return kinds(steps.filter(({ step }) => step === 'stop'));
    };
    // Somebody outside has the CPU.
    expect(stops(new Map([['idle', 0], ['busy', 0.001]]))).toEqual([]); // biome-ignore format: pairs
    expect(stops(new Map([['idle', 0], ['busy', 0.9]]))).toEqual(['stop id-busy']); // biome-ignore format: pairs
    expect(stops().sort()).toEqual(['stop id-busy', 'stop id-idle']);

    const shed = planOf({ ...all, ...level(2), cpuUse: new Map([['busy', 0.9]]) });
    const left = { desired: all.desired, containers: [up(high), up(idle)] };
    const still = planOf({ ...left, ...level(2), memory: shed.records });
    expect(kinds(still.ready).filter((one) => one.startsWith('create'))).toEqual([]);
    const calm = planOf({ ...left, ...level(1), memory: still.records, nowMs: NOW + 1000 });
    const back = planOf({ ...left, ...level(1), memory: calm.records, nowMs: NOW + 1000 + HOLD_MS });
    expect(kinds(back.ready)).toContain('create-and-start busy');
  });

  it('touches nothing when nothing more important runs', () => {
    const alone = { desired: [free], containers: [container('free', { health: 'healthy' })], capacity };
    expect(kinds(planOf({ ...alone, pressure: { memory: 5, cpu: 5 } }).steps)).toEqual([]);
  });
});

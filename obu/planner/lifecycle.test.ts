import { describe, expect, it } from 'vitest';
import { container, desired, kinds, memoryOf, NOW, planOf } from '../../test/support/planner-scene.ts';
import type { Dependency, UpdatePolicy, Workload } from '../manifest/workload.ts';
import { rememberFreeze, rememberThaw } from './freeze.ts';
import { SETTLE_MS } from './lifecycle.ts';
import { weightsOf } from './resources/weights.ts';
import { newRecord, rememberRefusedStart } from './restart.ts';
import type { Desired, ObservedContainer, Version, WorkloadRecord } from './state.ts';
import { UPDATE_TRIES } from './update-fault.ts';

const update: UpdatePolicy = { strategy: 'kill-then-start', rollback: 'on-unhealthy', when: 'now' };
const handOver: UpdatePolicy = { ...update, strategy: 'hand-over' };

/** Version 2 of `a` is wanted; version 1 was good. */
const wanted = (extra: Partial<Workload> = {}): Desired => desired('a', { update, ...extra }, 'hash-2');
const version = (n: number, extra: Partial<Workload> = {}): Version => ({
  ...desired('a', { update, environment: { VERSION: `${n}` }, ...extra }, `hash-${n}`),
  imageId: `image-${n}`,
});
const images: [string, string][] = [
  ['a:1', 'image-2'],
  ['image-1', 'image-1'],
];
const at = (n: number, extra: Partial<ObservedContainer> = {}) =>
  container('a', { id: `id-${n}`, configHash: `hash-${n}`, imageId: `image-${n}`, ...extra });
const scene = (extra: Partial<WorkloadRecord>, containers: ObservedContainer[], workload: Partial<Workload> = {}) => ({
  desired: [wanted(workload)],
  images,
  kept: [['a', 'image-1']] as const,
  containers,
  memory: memoryOf('a', { version: version(1), good: version(1), ...extra }),
});
const trying = { version: version(2) };

describe('health', () => {
  it.each([
    ['healthy', 'Ok', /runs and is healthy/],
    ['starting', 'Starting', /has no result yet/],
    ['unhealthy', 'Unhealthy', /its health check fails/],
  ] as const)('%s is Running(%s), and nothing is restarted for it', (health, detail, reason) => {
    const result = planOf({ containers: [container('a', { health })] });
    expect(result.steps).toEqual([]);
    expect(result.states.get('a')).toMatchObject({ state: 'Running', detail, reason: expect.stringMatching(reason) });
  });

  it('makes a version the good one, whose image is kept', () => {
    const result = planOf({ containers: [container('a', { health: 'healthy' })], kept: [] });
    expect(kinds(result.steps)).toEqual(['keep-image a']);
    expect(result.records.get('a')?.good).toMatchObject({ configHash: 'hash-a', imageId: 'image-a' });
  });

  it('without a check comes with time', () => {
    const young = planOf({ containers: [container('a')] });
    expect(young.steps).toEqual([expect.objectContaining({ step: 'wait', untilMs: NOW - 1000 + SETTLE_MS })]);
    expect(young.records.get('a')?.good).toBeUndefined();
    const settled = planOf({ containers: [container('a')], nowMs: NOW - 1000 + SETTLE_MS });
    expect(settled.records.get('a')?.good).toBeDefined();
  });
});

describe('an update', () => {
  it('kills, then starts', () => {
    const stopping = planOf(scene({}, [at(1)]));
    expect(kinds(stopping.steps)).toEqual(['stop id-1']);
    expect(kinds(planOf(scene(trying, [])).steps)).toEqual(['create-and-start a']);
  });

  it('hands over: the new one beside the old one, each with its own gateway', () => {
    const result = planOf(scene({}, [at(1)], { update: handOver }));
    expect(result.steps).toEqual([expect.objectContaining({ step: 'create-and-start', gateway: 'a.B' })]);
    expect(result.states.get('a')).toMatchObject({
      ...{ state: 'Running', update: 'handing-over', reason: expect.stringMatching(/hands over/) },
    });
    const other = planOf(scene({}, [at(1, { gateway: 'a.B' })], { update: handOver }));
    expect(other.steps).toEqual([expect.objectContaining({ step: 'create-and-start', gateway: 'a' })]);
  });

  it('hands over only to one that is healthy, or has been up for long enough', () => {
    const both = (extra: Partial<ObservedContainer>) =>
      kinds(planOf(scene(trying, [at(1), at(2, { gateway: 'a.B', ...extra })], { update: handOver })).steps);
    expect(both({ health: 'starting' })).toEqual([]);
    expect(both({ health: 'none' })).toEqual(['wait a']);
    expect(both({ health: 'healthy' })).toContain('stop id-1');
    expect(both({ health: 'none', startedAtMs: NOW - SETTLE_MS })).toContain('stop id-1');
  });

  it('waits with the numbers when both together do not fit', () => {
    const small = { memory: 100 * 2 ** 20, cpus: 1 };
    const result = planOf({ ...scene({}, [at(1)], { update: handOver }), capacity: small });
    expect(kinds(result.steps)).toEqual([]);
    expect(result.states.get('a')).toMatchObject({
      state: 'Running',
      reason: expect.stringMatching(/waits: it needs 64 MiB/),
    });
  });

  it.each([
    ['its health check fails', [at(2, { health: 'unhealthy' })], {}, /its health check failed/],
    [
      'it ends again and again',
      [at(2, { state: 'exited', exitCode: 1, finishedAtMs: NOW })],
      { failures: UPDATE_TRIES - 1 },
      /exit code 1, 3 times in a row/,
    ],
    [
      'the engine cannot start it',
      [],
      { ...rememberRefusedStart({ ...newRecord, failures: UPDATE_TRIES - 1 }, 'no such file', NOW), ...trying },
      /no such file, 3 times in a row/,
    ],
  ] as const)('is taken back when %s', (_why, containers, extra, reason) => {
    const memory = { ...extra, ...trying, good: version(1) };
    const result = planOf(scene(memory, [...containers]));
    expect(result.records.get('a')).toMatchObject({
      version: { configHash: 'hash-1', workload: { environment: { VERSION: '1' } } },
      bad: { configHash: 'hash-2', imageId: 'image-2', why: expect.stringMatching(reason) },
    });
    expect(result.states.get('a')).toMatchObject({
      update: 'rolled-back',
      reason: expect.stringMatching(/rolled back to the last good version because the new one failed/),
    });
    const again = planOf({ ...scene({}, []), memory: result.records, nowMs: NOW + 1_000_000 });
    expect(again.steps).toEqual([
      expect.objectContaining({ step: 'create-and-start', version: expect.objectContaining({ imageId: 'image-1' }) }),
    ]);
  });

  it('in a hand-over is taken back to the container that still runs', () => {
    const bad = at(2, { gateway: 'a.B', health: 'unhealthy' });
    const result = planOf(scene(trying, [at(1, { health: 'healthy' }), bad], { update: handOver }));
    expect(kinds(result.steps)).toEqual(['stop id-2']);
  });

  it.each([
    ['it was good before', { good: version(2) }, {}],
    ['the manifest says never', {}, { update: { ...update, rollback: 'never' as const } }],
    ['nothing was good before', { good: undefined }, {}],
    ['the image that was good is gone', { good: { ...version(1), imageId: 'image-0' } }, {}],
  ])('is not taken back when %s', (_why, memory, workload) => {
    const result = planOf(scene({ ...trying, ...memory }, [at(2, { health: 'unhealthy' })], workload));
    expect(kinds(result.steps)).not.toContain('stop id-2');
    expect(result.states.get('a')).toMatchObject({ state: 'Running', detail: 'Unhealthy' });
  });

  it.each([
    ['the manifest', [wanted()].map((one) => ({ ...one, configHash: 'hash-3' })), images],
    ['the image', [wanted()], [['a:1', 'image-3'], images[1]!] as [string, string][]],
  ])('that failed is tried again when %s is another', (_what, another, others) => {
    const bad = { configHash: 'hash-2', imageId: 'image-2', why: 'it failed' };
    const result = planOf({ ...scene({ bad }, [at(1)]), desired: another, images: others });
    expect(kinds(result.steps)).toEqual(['stop id-1']);
    expect(result.records.get('a')?.bad).toBeUndefined();
  });

  it('waits for the vehicle to be parked, and the present version is looked after meanwhile', () => {
    const parked = { update: { ...update, when: 'parked' as const } };
    const driving = planOf({ ...scene({}, [at(1)], parked), parked: false });
    expect(driving.steps).toEqual([]);
    expect(driving.states.get('a')).toMatchObject({
      update: 'waiting',
      reason: expect.stringMatching(/waits until the vehicle is parked \(`Vehicle\.Speed == 0`\)/),
    });
    const ended = planOf({ ...scene({}, [], parked), parked: false });
    expect(ended.steps).toEqual([
      expect.objectContaining({ step: 'create-and-start', version: expect.objectContaining({ imageId: 'image-1' }) }),
    ]);
    expect(kinds(planOf({ ...scene({}, [at(1)], parked), parked: true }).steps)).toEqual(['stop id-1']);
    const first = planOf({ desired: [wanted(parked)], images, parked: false });
    expect(kinds(first.steps)).toEqual(['create-and-start a']);
  });

  it('waits for its image, and the present version runs on', () => {
    const result = planOf({ ...scene({}, [at(1)]), images: [images[1]!] });
    expect(result.steps).toEqual([]);
    expect(result.states.get('a')?.reason).toMatch(/its update waits: image a:1 is not on this engine/);
    const unknown = planOf({ ...scene({}, [at(1)]), images: [], memory: new Map() });
    expect(kinds(unknown.steps)).toEqual([]);
    expect(unknown.states.get('a')).toMatchObject({ state: 'Running', reason: expect.stringMatching(/update waits/) });
  });

  it('is none when only the treatment changes: the weights do', () => {
    const one = desired('a', { priority: 900 });
    const result = planOf({ desired: [one], containers: [container('a', { health: 'healthy' })] });
    expect(kinds(result.steps)).toEqual(['weigh id-a']);
    const { cpuShares } = weightsOf(900);
    const weighed = container('a', { health: 'healthy', cpuShares });
    expect(planOf({ desired: [one], containers: [weighed] }).steps).toEqual([]);
  });
});

describe('a dependency', () => {
  const needs = (condition: Dependency['condition']) => desired('a', { dependsOn: [{ workload: 'b', condition }] });
  const b = desired('b', { priority: 0, restart: { policy: 'no' } });
  const ended = (exitCode: number) => container('b', { state: 'exited', exitCode, finishedAtMs: NOW });
  it.each([
    ['started', container('b'), undefined],
    ['started', container('b', { state: 'exited', exitCode: 0 }), undefined],
    ['started', container('b', { state: 'created', startedAtMs: 0 }), /waits for b to be started/],
    ['healthy', container('b', { health: 'healthy' }), undefined],
    ['healthy', container('b', { health: 'starting' }), /waits for b to be healthy$/],
    ['healthy', container('b'), /b has no health check/],
    ['completed', ended(0), undefined],
    ['completed', ended(1), /waits for b to end with exit code 0/],
    ['completed', container('b'), /waits for b to end/],
  ] as const)('%s with such a container', (condition, there, reason) => {
    const result = planOf({ desired: [needs(condition), b], containers: [there] });
    const state = result.states.get('a');
    if (reason === undefined) expect(kinds(result.steps)).toContain('create-and-start a');
    else
      expect(state).toMatchObject({
        state: 'Pending',
        detail: 'WaitingForDependency',
        reason: expect.stringMatching(reason),
      });
  });

  it('that the manifest does not name is said', () => {
    const state = planOf({ desired: [needs('started')] }).states.get('a');
    expect(state?.reason).toBe('it waits for b, which the manifest does not name');
  });
});

describe('a requirement', () => {
  const one = desired('a', { requires: ['bus/can0', 'camera/rear'] });
  it('that this OBU has not keeps a workload from running', () => {
    const result = planOf({ desired: [one], has: ['bus/can0', 'camera/front'], containers: [container('a')] });
    expect(kinds(result.steps)).toEqual(['stop id-a']);
    expect(result.states.get('a')).toMatchObject({
      ...{ state: 'Pending', detail: 'RequirementMissing' },
      reason: 'it requires camera/rear, and this OBU has bus/can0, camera/front',
    });
  });
  it('that it has is no hindrance', () => {
    expect(kinds(planOf({ desired: [one], has: one.workload.requires }).steps)).toEqual(['create-and-start a']);
  });
});

describe('what keeps too much in its /data', () => {
  it('is stopped with the reason, is not started, and runs again when it is held no more', () => {
    const held = [['a', 'its /data is full']] as const;
    const state = { state: 'Failed', detail: 'DataFull', reason: 'its /data is full' };
    const other = container('b', { health: 'healthy' });
    const result = planOf({ desired: [desired('a'), desired('b')], containers: [container('a'), other], held });
    expect([kinds(result.steps), result.states.get('a')]).toEqual([['stop id-a'], state]);
    const after = planOf({ desired: [desired('a'), desired('b')], containers: [other], held });
    expect([kinds(after.steps), after.states.get('a')]).toEqual([[], state]);
    const freed = planOf({ desired: [desired('a'), desired('b')], containers: [other] });
    expect(kinds(freed.steps)).toEqual(['create-and-start a']);
  });
});

describe('a person', () => {
  const frozen = memoryOf('a', rememberFreeze(newRecord, NOW));
  it('freezes what runs, and it stays so, also without a container', () => {
    expect(kinds(planOf({ containers: [container('a')], memory: frozen }).steps)).toEqual(['freeze id-a']);
    const paused = planOf({ containers: [container('a', { state: 'paused' })], memory: frozen });
    expect(paused.steps).toEqual([]);
    expect(paused.states.get('a')).toMatchObject({ state: 'Frozen', detail: 'person' });
    const none = planOf({ memory: frozen });
    expect(none.steps).toEqual([]);
    expect(none.states.get('a')?.reason).toMatch(/gets one when it is thawed/);
  });
  it('thaws at once', () => {
    const memory = memoryOf('a', rememberThaw(frozen.get('a')!, NOW));
    expect(kinds(planOf({ containers: [container('a', { state: 'paused' })], memory }).steps)).toEqual(['thaw id-a']);
    expect(kinds(planOf({ memory }).steps)).toEqual(['create-and-start a']);
    expect(
      planOf({ containers: [container('a', { health: 'healthy' })], memory }).records.get('a')?.preempted,
    ).toBeUndefined();
  });
});

import { describe, expect, it } from 'vitest';
import {
  container,
  desired,
  kinds,
  NOW,
  ObedientEngine,
  OWNER,
  planOf,
  SEED,
} from '../../test/support/planner-scene.ts';
import type { RestartPolicy } from '../manifest/workload.ts';
import { SETTLE_MS } from './lifecycle.ts';
import {
  backoffMs,
  CRASH_LOOP_ENDS,
  FIRST_BACKOFF_MS,
  GOOD_RUN_MS,
  JITTER,
  LONGEST_BACKOFF_MS,
  rememberRefusedStart,
} from './restart.ts';
import { isAction, type ObservedContainer, type WorkloadRecord } from './state.ts';

const exited = (workload: string, exitCode: number, extra: Partial<ObservedContainer> = {}) =>
  container(workload, { state: 'exited', exitCode, finishedAtMs: NOW, ...extra });
const long = { startedAtMs: NOW - SETTLE_MS };

describe('the planner', () => {
  it('starts what is not there, the highest priority first, after what has to go', () => {
    const scene = {
      desired: [
        desired('low', { priority: 1 }),
        desired('high', { priority: 900 }),
        desired('also-high', { priority: 900 }),
      ],
      containers: [container('gone')],
    };
    expect(kinds(planOf(scene).steps)).toEqual([
      'stop id-gone',
      'create-and-start also-high',
      'create-and-start high',
      'create-and-start low',
    ]);
  });

  it('leaves alone what is right', () => {
    const result = planOf({ containers: [container('a', long)] });
    expect(result.steps).toEqual([]);
    expect(result.states.get('a')).toMatchObject({ state: 'Running', detail: 'Ok' });
  });

  it('gives the same plan for the same values', () => {
    const scene = { containers: [exited('a', 3)] };
    expect(planOf(scene)).toEqual(planOf(scene));
  });

  it('takes over a container that an earlier run of the OBU left', () => {
    expect(kinds(planOf({ containers: [container('a', long)], gateways: [] }).steps)).toEqual(['adopt id-a']);
  });

  it.each([
    ['nobody', undefined],
    ['another OBU', 'obu-2/abc'],
    ['the same OBU with another state folder', 'obu-1/def'],
  ])('never touches a container of %s', (_who, owner) => {
    const steps = planOf({ desired: [], containers: [container('a', { owner }), exited('b', 1, { owner })] }).steps;
    expect(steps).toEqual([]);
  });

  it.each([
    ['configuration', { configHash: 'other' }],
    ['image', { imageId: 'other' }],
  ])('replaces a container of another %s', (_what, extra) => {
    const result = planOf({ containers: [container('a', extra)] });
    expect(kinds(result.steps)).toEqual(['stop id-a']);
    expect(result.states.get('a')?.state).toBe('Stopping');
  });

  it('keeps a running container whose image was deleted', () => {
    expect(planOf({ containers: [container('a', long)], images: [] }).steps).toEqual([]);
  });

  it('says which image is missing and starts nothing', () => {
    const result = planOf({ images: [] });
    expect(kinds(result.steps)).toEqual(['refuse-missing-image a']);
    expect(result.steps.some(isAction)).toBe(false);
    expect(result.states.get('a')).toMatchObject({ state: 'Failed', detail: 'ImageMissing' });
    expect(result.states.get('a')?.reason).toContain('kerb image build DIR --tag a:1');
  });

  it('removes what a cut-off start left', () => {
    expect(kinds(planOf({ containers: [container('a', { state: 'created' })] }).steps)).toEqual(['remove id-a']);
  });

  it('keeps one of several containers of a workload: the right one', () => {
    const wrong = container('a', { id: 'wrong', configHash: 'other', startedAtMs: NOW });
    const old = exited('a', 1, { id: 'old' });
    const result = planOf({ containers: [wrong, container('a', long), old] });
    expect(kinds(result.steps).sort()).toEqual(['remove old', 'stop wrong']);
  });

  it('waits for the engine while a container is being removed', () => {
    expect(planOf({ containers: [container('a', { state: 'removing' })] }).steps).toEqual([]);
  });

  it('does not fight a person who paused a container', () => {
    const result = planOf({ containers: [container('a', { state: 'paused' })] });
    expect(result.steps).toEqual([]);
    expect(result.states.get('a')?.state).toBe('Frozen');
  });
});

describe('the restart policy', () => {
  const withPolicy = (
    restart: RestartPolicy,
    containers: ObservedContainer[],
    memory?: ReadonlyMap<string, WorkloadRecord>,
  ) => planOf({ desired: [desired('a', { restart })], containers, memory });

  it.each([
    ['no', 0, 'Succeeded', ''],
    ['no', 7, 'Failed', 'ExitCode'],
    ['on-failure', 0, 'Succeeded', ''],
  ] as const)('%s leaves a container that ended with %i as it is', (policy, code, state, detail) => {
    const result = withPolicy({ policy, maxRetries: undefined } as RestartPolicy, [exited('a', code)]);
    expect(result.steps).toEqual([]);
    expect(result.states.get('a')).toMatchObject({ state, detail });
  });

  it.each(['always', 'unless-stopped', 'on-failure'] as const)('%s removes and starts a failed one again', (policy) => {
    const restart = { policy, maxRetries: undefined } as RestartPolicy;
    const first = withPolicy(restart, [exited('a', 7)]);
    expect(kinds(first.steps)).toEqual(['remove id-a']);
    const second = withPolicy(restart, [], first.records);
    const untilMs = NOW + backoffMs(1, SEED, 'a');
    expect(second.steps).toEqual([expect.objectContaining({ step: 'wait', untilMs })]);
    const later = planOf({
      desired: [desired('a', { restart })],
      memory: second.records,
      nowMs: NOW + FIRST_BACKOFF_MS,
    });
    expect(kinds(later.steps)).toEqual(['create-and-start a']);
  });

  it('gives up after as many retries as it was given', () => {
    const restart: RestartPolicy = { policy: 'on-failure', maxRetries: 2 };
    let memory: ReadonlyMap<string, WorkloadRecord> = new Map();
    const outcomes = [1, 2, 3].map((n) => {
      const result = withPolicy(restart, [exited('a', 1, { id: `id-${n}` })], memory);
      memory = result.records;
      return result.states.get('a')?.state;
    });
    expect(outcomes).toEqual(['Pending', 'Pending', 'Failed']);
  });

  it('counts one end once, however often it is seen', () => {
    const first = planOf({ containers: [exited('a', 1)] });
    const second = planOf({ containers: [exited('a', 1)], memory: first.records });
    expect(second.records.get('a')?.failures).toBe(1);
  });

  it('begins a new row after a good run', () => {
    const memory = new Map([['a', { ...planOf({ containers: [exited('a', 1)] }).records.get('a')!, failures: 9 }]]);
    const longRun = exited('a', 1, { id: 'later', startedAtMs: NOW - GOOD_RUN_MS });
    expect(planOf({ containers: [longRun], memory }).records.get('a')?.failures).toBe(1);
  });

  it('forgets the past when the configuration changes', () => {
    const failed = planOf({ containers: [exited('a', 1)] });
    const changed = planOf({ desired: [desired('a', {}, 'new')], memory: failed.records });
    expect(kinds(changed.steps)).toEqual(['create-and-start a']);
  });

  it('names running out of memory', () => {
    const result = withPolicy({ policy: 'no' }, [exited('a', 137, { oomKilled: true })]);
    expect(result.states.get('a')).toMatchObject({ state: 'Failed', detail: 'OutOfMemory' });
  });

  it('waits after a start that the engine refused, with its sentence', () => {
    const none = planOf({});
    const memory = new Map([['a', rememberRefusedStart(none.records.get('a')!, 'no such file', NOW)]]);
    const result = planOf({ memory });
    expect(kinds(result.steps)).toEqual(['wait a']);
    expect(result.states.get('a')).toMatchObject({ state: 'Pending', detail: 'BackingOff' });
    expect(result.states.get('a')?.reason).toContain('no such file');
  });

  it('does not wait forever when the clock was set back', () => {
    const { records: memory } = planOf({ containers: [exited('a', 1)] });
    expect(kinds(planOf({ memory, nowMs: NOW - 86_400_000 }).steps)).toEqual(['create-and-start a']);
  });

  it('doubles the back-off up to its limit, less a part that differs from workload to workload', () => {
    for (let failures = 1; failures < 20; failures++) {
      const full = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (failures - 1));
      for (const name of ['a', 'b', 'c']) {
        expect(backoffMs(failures, SEED, name)).toBeLessThanOrEqual(full);
        expect(backoffMs(failures, SEED, name)).toBeGreaterThanOrEqual(full * (1 - JITTER));
      }
    }
    expect(backoffMs(0, SEED, 'a')).toBe(0);
    const times = Array.from({ length: 50 }, (_, seed) => backoffMs(9, seed, 'a'));
    expect(new Set(times).size).toBeGreaterThan(40);
  });

  it('calls many ends in a row a crash loop, and goes on trying', () => {
    let memory: ReadonlyMap<string, WorkloadRecord> = new Map();
    for (let n = 1; n <= CRASH_LOOP_ENDS; n++)
      memory = planOf({ containers: [exited('a', 1, { id: `${n}` })], memory }).records;
    const waiting = planOf({ memory });
    expect(waiting.states.get('a')).toMatchObject({ state: 'Pending', detail: 'CrashLoop' });
    expect(waiting.states.get('a')?.reason).toMatch(
      /exit code 1; that was the 5th time in a row, and it is started again/,
    );
    expect(kinds(planOf({ memory, nowMs: NOW + LONGEST_BACKOFF_MS }).steps)).toEqual(['create-and-start a']);
  });
});

describe('carrying plans out', () => {
  it('settles from any mess, with one right container per workload and the foreign ones as they were', () => {
    const states = ['created', 'running', 'exited', 'dead'] as const;
    const mess: ObservedContainer[] = [];
    for (const name of ['a', 'b', 'unknown']) {
      for (const state of states) {
        for (const configHash of [`hash-${name}`, 'other']) {
          const id = `${name}-${state}-${configHash}`;
          mess.push(container(name, { id, state, configHash, exitCode: 1, finishedAtMs: NOW }));
        }
      }
    }
    const foreign = container('a', { id: 'foreign', owner: undefined });
    const engine = new ObedientEngine({ desired: [desired('a'), desired('b')], containers: [...mess, foreign] });
    engine.settle(30);
    expect(engine.containers.filter((c) => c.owner === OWNER).map((c) => [c.workload, c.state, c.configHash])).toEqual([
      ['a', 'running', 'hash-a'],
      ['b', 'running', 'hash-b'],
    ]);
    expect(engine.containers).toContain(foreign);
  });

  it('settles to nothing when the manifest is empty', () => {
    const engine = new ObedientEngine({ desired: [], containers: [container('a'), exited('b', 0)] });
    engine.settle(5);
    expect(engine.containers).toEqual([]);
  });
});

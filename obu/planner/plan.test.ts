import { describe, expect, it } from 'vitest';
import { workloadOf } from '../manifest/test-workload.ts';
import type { RestartPolicy, Workload } from '../manifest/workload.ts';
import { plan } from './plan.ts';
import {
  backoffMs,
  FIRST_BACKOFF_MS,
  GOOD_RUN_MS,
  LONGEST_BACKOFF_MS,
  rememberRefusedStart,
  rememberStart,
} from './restart.ts';
import { type Desired, isAction, type Memory, type ObservedContainer, type Step } from './state.ts';

const OWNER = 'obu-1/abc';
const NOW = 1_000_000;

function desired(name: string, extra: Partial<Workload> = {}, configHash = `hash-${name}`): Desired {
  const workload = workloadOf({ name, image: `${name}:1`, restart: { policy: 'always' }, ...extra });
  return { workload, configHash };
}

function container(workload: string, extra: Partial<ObservedContainer> = {}): ObservedContainer {
  return {
    id: `id-${workload}`,
    name: `kerbside-${workload}`,
    owner: OWNER,
    workload,
    configHash: `hash-${workload}`,
    imageId: `image-${workload}`,
    state: 'running',
    exitCode: 0,
    oomKilled: false,
    startedAtMs: NOW - 1000,
    finishedAtMs: 0,
    ...extra,
  };
}

const exited = (workload: string, exitCode: number, extra: Partial<ObservedContainer> = {}) =>
  container(workload, { state: 'exited', exitCode, finishedAtMs: NOW, ...extra });

interface Scene {
  desired?: Desired[];
  containers?: ObservedContainer[];
  images?: [string, string][];
  gateways?: string[];
  memory?: ReadonlyMap<string, Memory>;
  nowMs?: number;
}

function planOf(scene: Scene) {
  const wanted = scene.desired ?? [desired('a')];
  return plan({
    owner: OWNER,
    desired: wanted,
    observed: {
      containers: scene.containers ?? [],
      images: new Map(scene.images ?? wanted.map((one) => [one.workload.image, `image-${one.workload.name}`])),
      gateways: new Set(scene.gateways ?? []),
    },
    memory: scene.memory ?? new Map(),
    nowMs: scene.nowMs ?? NOW,
  });
}

const kinds = (steps: readonly Step[]) =>
  steps.map((step) => {
    if (step.step === 'create-and-start') return `${step.step} ${step.desired.workload.name}`;
    return 'container' in step ? `${step.step} ${step.container.id}` : `${step.step} ${step.workload}`;
  });

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
    const result = planOf({ containers: [container('a')], gateways: ['id-a'] });
    expect(result.steps).toEqual([]);
    expect(result.states.get('a')).toMatchObject({ state: 'Running', detail: 'Ok' });
  });

  it('gives the same plan for the same values', () => {
    const scene = { containers: [exited('a', 3)] };
    expect(planOf(scene)).toEqual(planOf(scene));
  });

  it('takes over a container that an earlier run of the OBU left', () => {
    expect(kinds(planOf({ containers: [container('a')] }).steps)).toEqual(['adopt id-a']);
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
    const result = planOf({ containers: [container('a', extra)], gateways: ['id-a'] });
    expect(kinds(result.steps)).toEqual(['stop id-a']);
    expect(result.states.get('a')?.state).toBe('Stopping');
  });

  it('keeps a running container whose image was deleted', () => {
    expect(planOf({ containers: [container('a')], images: [], gateways: ['id-a'] }).steps).toEqual([]);
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
    const result = planOf({ containers: [wrong, container('a'), old], gateways: ['id-a'] });
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
  const withPolicy = (restart: RestartPolicy, containers: ObservedContainer[], memory?: ReadonlyMap<string, Memory>) =>
    planOf({ desired: [desired('a', { restart })], containers, memory });

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
    const second = withPolicy(restart, [], first.memory);
    expect(second.steps).toEqual([expect.objectContaining({ step: 'wait', untilMs: NOW + FIRST_BACKOFF_MS })]);
    const later = planOf({
      desired: [desired('a', { restart })],
      memory: second.memory,
      nowMs: NOW + FIRST_BACKOFF_MS,
    });
    expect(kinds(later.steps)).toEqual(['create-and-start a']);
  });

  it('gives up after as many retries as it was given', () => {
    const restart: RestartPolicy = { policy: 'on-failure', maxRetries: 2 };
    let memory: ReadonlyMap<string, Memory> = new Map();
    const outcomes = [1, 2, 3].map((n) => {
      const result = withPolicy(restart, [exited('a', 1, { id: `id-${n}` })], memory);
      memory = result.memory;
      return result.states.get('a')?.state;
    });
    expect(outcomes).toEqual(['Pending', 'Pending', 'Failed']);
  });

  it('counts one end once, however often it is seen', () => {
    const first = planOf({ containers: [exited('a', 1)] });
    const second = planOf({ containers: [exited('a', 1)], memory: first.memory });
    expect(second.memory.get('a')?.failures).toBe(1);
  });

  it('begins a new row after a good run', () => {
    const memory = new Map([['a', { ...planOf({ containers: [exited('a', 1)] }).memory.get('a')!, failures: 9 }]]);
    const longRun = exited('a', 1, { id: 'later', startedAtMs: NOW - GOOD_RUN_MS });
    expect(planOf({ containers: [longRun], memory }).memory.get('a')?.failures).toBe(1);
  });

  it('forgets the past when the configuration changes', () => {
    const failed = planOf({ containers: [exited('a', 1)] });
    const changed = planOf({ desired: [desired('a', {}, 'new')], memory: failed.memory });
    expect(kinds(changed.steps)).toEqual(['create-and-start a']);
  });

  it('names running out of memory', () => {
    const result = withPolicy({ policy: 'no' }, [exited('a', 137, { oomKilled: true })]);
    expect(result.states.get('a')).toMatchObject({ state: 'Failed', detail: 'OutOfMemory' });
  });

  it('waits after a start that the engine refused, with its sentence', () => {
    const none = planOf({});
    const memory = new Map([['a', rememberRefusedStart(none.memory.get('a')!, 'no such file', NOW)]]);
    const result = planOf({ memory });
    expect(kinds(result.steps)).toEqual(['wait a']);
    expect(result.states.get('a')).toMatchObject({ state: 'Pending', detail: 'BackingOff' });
    expect(result.states.get('a')?.reason).toContain('no such file');
  });

  it('does not wait forever when the clock was set back', () => {
    const { memory } = planOf({ containers: [exited('a', 1)] });
    expect(kinds(planOf({ memory, nowMs: NOW - 86_400_000 }).steps)).toEqual(['create-and-start a']);
  });

  it('doubles the back-off up to its limit', () => {
    expect([0, 1, 2, 3].map(backoffMs)).toEqual([0, 500, 1000, 2000]);
    expect(backoffMs(10_000)).toBe(LONGEST_BACKOFF_MS);
  });
});

describe('carrying plans out', () => {
  /** An engine of plain values: it does what the steps say. */
  function settle(scene: Required<Pick<Scene, 'desired' | 'containers'>>, rounds: number) {
    let containers = [...scene.containers];
    const gateways = new Set<string>();
    let memory: ReadonlyMap<string, Memory> = new Map();
    let nowMs = NOW;
    for (let round = 1; round <= rounds; round++) {
      const result = planOf({ desired: scene.desired, containers, gateways: [...gateways], memory, nowMs });
      const next = new Map(result.memory);
      memory = next;
      if (!result.steps.some(isAction)) {
        const waits = result.steps.flatMap((step) => (step.step === 'wait' ? [step.untilMs] : []));
        if (waits.length === 0) return { round, containers };
        nowMs = Math.min(...waits);
      }
      for (const step of result.steps) {
        if (step.step === 'create-and-start') {
          const { name } = step.desired.workload;
          const id = `made-${name}-${round}`;
          containers.push(container(name, { id, configHash: step.desired.configHash }));
          gateways.add(id);
          next.set(name, rememberStart(next.get(name)!));
        } else if (step.step === 'stop') {
          containers = containers.map((c) =>
            c.id === step.container.id ? { ...c, state: 'exited', exitCode: 137, finishedAtMs: nowMs } : c,
          );
        } else if (step.step === 'remove') {
          containers = containers.filter((c) => c.id !== step.container.id);
        } else if (step.step === 'adopt') {
          gateways.add(step.container.id);
        }
      }
    }
    throw new Error('did not settle');
  }

  it('settles from any mess, with one right container per workload and the foreign ones as they were', () => {
    const states = ['created', 'running', 'exited', 'dead'] as const;
    const mess: ObservedContainer[] = [];
    for (const name of ['a', 'b', 'unknown']) {
      for (const state of states) {
        for (const configHash of [`hash-${name}`, 'other']) {
          mess.push(
            container(name, {
              id: `${name}-${state}-${configHash}`,
              state,
              configHash,
              exitCode: 1,
              finishedAtMs: NOW,
            }),
          );
        }
      }
    }
    const foreign = container('a', { id: 'foreign', owner: undefined });
    const { containers } = settle({ desired: [desired('a'), desired('b')], containers: [...mess, foreign] }, 20);
    expect(containers.filter((c) => c.owner === OWNER).map((c) => [c.workload, c.state, c.configHash])).toEqual([
      ['a', 'running', 'hash-a'],
      ['b', 'running', 'hash-b'],
    ]);
    expect(containers).toContain(foreign);
  });

  it('settles to nothing when the manifest is empty', () => {
    const { containers } = settle({ desired: [], containers: [container('a'), exited('b', 0)] }, 5);
    expect(containers).toEqual([]);
  });
});

/** What holds while steps are in flight, in whatever order they are done. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { capacity, event, manifest } from '../../test/support/planner-arbitraries.ts';
import {
  container,
  containerOf,
  desired,
  inputOf,
  kinds,
  MIB,
  NOW,
  ObedientEngine,
  planOf,
} from '../../test/support/planner-scene.ts';
import { rounds } from '../../test/support/rounds.ts';
import { rememberFreeze, rememberThaw } from './freeze.ts';
import { reservesOf, workloadOf } from './in-flight.ts';
import { fits, plus, sumOf } from './resources/capacity.ts';
import type { Action, Step } from './state.ts';

const sized = (name: string, priority: number, memory: number, cpus: number) =>
  desired(name, { priority, memLimit: memory * MIB, cpus, preemption: 'stop' });
const room = { memory: 512 * MIB, cpus: 4 };

/** What is held, with what is being started: the engine makes and starts it at some moment before it says so. */
function neverAboveInFlight(engine: ObedientEngine): void {
  const starting = engine.inFlight.flatMap((step) => {
    if (step.step === 'create-and-start') return [engine.claim(step.version)];
    return step.step === 'thaw'
      ? [{ memory: 0, cpus: engine.claim({ ...step, workload: limits(step) } as never).cpus }]
      : [];
  });
  if (!fits(plus(engine.held(), sumOf(starting)), engine.capacity)) throw new Error('above capacity');
}

const limits = (step: Extract<Action, { step: 'thaw' }>) => ({
  memLimit: step.container.memLimit,
  cpus: step.container.cpus,
});

function neverTwoAtOnce(engine: ObedientEngine): void {
  const reserves = engine.inFlight.flatMap(reservesOf);
  if (new Set(reserves).size !== reserves.length) throw new Error(`two at once: ${reserves.join(', ')}`);
}

/** Begins and finishes until nothing is left. @param choice 0..1, which one is done next. @throws Error without an end */
function settle(engine: ObedientEngine, choices: readonly number[]): void {
  for (let i = 0; i < 600; i++) {
    const { steps } = engine.begin();
    neverTwoAtOnce(engine);
    neverAboveInFlight(engine);
    const isRest = steps.every(({ step }) => step === 'refuse-missing-image');
    if (engine.inFlight.length === 0 && isRest) return;
    if (engine.inFlight.length > 0) {
      engine.finish(Math.floor((choices[i % choices.length] ?? 0) * engine.inFlight.length));
      neverAboveInFlight(engine);
    }
  }
  throw new Error(`did not settle: ${kinds(engine.begin().steps).join(', ')}`);
}

const choices = fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 1, maxLength: 30 });

it('never above capacity, never two steps on one container, and always at rest in the end', () => {
  fc.assert(
    fc.property(fc.array(manifest, { minLength: 1, maxLength: 4 }), capacity, choices, (manifests, most, order) => {
      const engine = new ObedientEngine({ desired: [], containers: [], capacity: most });
      for (const wanted of manifests) {
        engine.desired = wanted;
        settle(engine, order);
      }
    }),
    { numRuns: rounds(120, 300) },
  );
});

it('the same when the manifest changes and containers end while steps are in flight', () => {
  const happening = fc.record({ event, after: fc.nat(12), change: fc.boolean() });
  fc.assert(
    fc.property(
      manifest,
      manifest,
      capacity,
      choices,
      fc.array(happening, { maxLength: 8 }),
      (one, two, most, order, all) => {
        const engine = new ObedientEngine({ desired: one, containers: [], capacity: most });
        for (const { event: what, after, change } of all) {
          for (let i = 0; i < after; i++) {
            engine.begin();
            neverTwoAtOnce(engine);
            neverAboveInFlight(engine);
            if (engine.inFlight.length > 0)
              engine.finish(Math.floor((order[i % order.length] ?? 0) * engine.inFlight.length));
          }
          if (change) engine.desired = engine.desired === one ? two : one;
          const known = engine.memory.get(what.name);
          if (what.kind === 'ends')
            engine.change(what.name, { state: 'exited', exitCode: 1, finishedAtMs: engine.nowMs });
          else if (what.kind === 'sick') engine.change(what.name, { health: 'unhealthy' });
          else if (known !== undefined) {
            const person = what.kind === 'freezes' ? rememberFreeze : rememberThaw;
            engine.memory = new Map(engine.memory).set(what.name, person(known, engine.nowMs));
          }
        }
        settle(engine, order);
      },
    ),
    { numRuns: rounds(120, 300) },
  );
});

it('what is in the plan and waits for nothing is ready, and the plan without steps in flight is the same', () => {
  fc.assert(
    fc.property(manifest, capacity, (wanted, most) => {
      const result = planOf({ desired: wanted, capacity: most });
      expect(new Set(result.ready)).toEqual(
        new Set(result.steps.filter((step): step is Action => result.ready.includes(step as Action))),
      );
      // On an empty machine nothing has to end before something can start.
      const starts = (steps: readonly Step[]) => steps.filter(({ step }) => step === 'create-and-start');
      expect(starts(result.ready)).toEqual(starts(result.steps));
    }),
    { numRuns: rounds(50, 100) },
  );
});

describe('while a victim takes its time to stop', () => {
  const victim = sized('victim', 0, 300, 1);
  const high = sized('high', 900, 350, 1);
  const other = sized('other', 1000, 64, 0.5);
  const up = { health: 'healthy' } as const;
  const running = [containerOf(victim, up), containerOf(other, up)];
  const first = planOf({ desired: [victim, high, other], containers: running, capacity: room });
  const stop = first.ready.find(({ step }) => step === 'stop')!;
  const scene = { desired: [victim, high, other], capacity: room, memory: first.records, inFlight: [stop] };

  it('the one that needs its room waits, and says so', () => {
    expect(kinds(first.steps)).toEqual(['stop id-victim', 'create-and-start high']);
    expect(kinds(first.ready)).toEqual(['stop id-victim']);
    const next = planOf({ ...scene, containers: running });
    expect(next.ready).toEqual([]);
    expect(next.states.get('victim')).toMatchObject({ state: 'Stopping' });
    expect(next.states.get('high')).toMatchObject({ state: 'Pending', detail: 'Starting' });
    expect(next.records.get('victim')?.preempted?.atMs).toBe(NOW);
  });

  it('nobody else is stopped for the same room', () => {
    const bystander = sized('bystander', 0, 64, 0.5);
    const next = planOf({
      ...scene,
      desired: [...scene.desired, bystander],
      containers: [...running, containerOf(bystander, up)],
    });
    expect(next.steps.filter(({ step }) => step === 'stop')).toEqual([]);
  });

  it('a crashed one of high priority is taken care of at once', () => {
    const crashed = containerOf(other, { state: 'exited', exitCode: 1, finishedAtMs: NOW });
    const next = planOf({ ...scene, containers: [running[0]!, crashed] });
    expect(kinds(next.ready)).toEqual(['remove id-other']);
    expect(next.states.get('other')).toMatchObject({ state: 'Pending', detail: 'BackingOff' });
    // It comes back as soon as its back-off is over, with the victim still there.
    const later = planOf({ ...scene, memory: next.records, containers: [running[0]!], nowMs: NOW + 1000 });
    expect(kinds(later.ready)).toEqual(['create-and-start other']);
  });

  it('a new one that fits into what is free is started', () => {
    const fresh = sized('fresh', 10, 64, 0.5);
    expect(kinds(planOf({ ...scene, desired: [...scene.desired, fresh], containers: running }).ready)).toEqual([
      'create-and-start fresh',
    ]);
  });

  it('the room is taken when it is there', () => {
    const next = planOf({ ...scene, inFlight: [], containers: [running[1]!] });
    expect(kinds(next.ready)).toEqual(['create-and-start high']);
  });
});

it('a container that is being made is neither made twice nor removed as the rest of a start', () => {
  const a = desired('a');
  const [create] = planOf({ desired: [a] }).ready;
  for (const state of ['created', 'running'] as const) {
    const made = container('a', { id: 'new', state });
    const next = planOf({ desired: [a], containers: [made], gateways: [], inFlight: [create!] });
    expect(kinds(next.steps)).toEqual([]);
    expect(next.states.get('a')).toMatchObject({ state: 'Pending', detail: 'Starting' });
  }
  const dropped = planOf({ desired: [], inFlight: [create!] });
  expect(kinds(dropped.steps)).toEqual([]);
});

it('a preempted one whose stop was cut off by the end of the OBU is stopped again, and has not failed', () => {
  const low = sized('low', 0, 300, 1);
  const preempted = {
    how: 'stop',
    cause: 'capacity',
    by: 'x',
    why: 'it was stopped',
    atMs: NOW,
    roomSinceMs: undefined,
  } as const;
  const memory = planOf({ desired: [low], containers: [containerOf(low)] }).records;
  const known = new Map([['low', { ...memory.get('low')!, preempted }]]);
  const next = planOf({ desired: [low], containers: [containerOf(low)], memory: known, nowMs: NOW + 5 });
  expect(kinds(next.ready)).toEqual(['stop id-low']);
  const ended = containerOf(low, { state: 'exited', exitCode: 143, finishedAtMs: NOW + 9 });
  const after = planOf({ desired: [low], containers: [ended], memory: next.records, nowMs: NOW + 10 });
  expect(after.records.get('low')).toMatchObject({ failures: 0, lastEnd: undefined });
});

describe('a container that the engine took along', () => {
  const ended = { state: 'exited', exitCode: 255, finishedAtMs: NOW, endedWithEngine: true } as const;
  it.each(['no', 'on-failure', 'always'] as const)(
    'is started again with restart `%s`, and uses up no restart',
    (policy) => {
      const restart = policy === 'on-failure' ? { policy, maxRetries: 0 } : { policy };
      const one = desired('a', { restart });
      const first = planOf({ desired: [one], containers: [container('a', ended)] });
      expect(kinds(first.ready)).toEqual(['remove id-a']);
      expect(first.states.get('a')).toMatchObject({ state: 'Pending', detail: 'Starting' });
      const second = planOf({ desired: [one], containers: [], memory: first.records });
      expect(kinds(second.ready)).toEqual(['create-and-start a']);
      expect(second.records.get('a')).toMatchObject({ failures: 0, restarts: 0, lastEnd: undefined });
    },
  );

  it('keeps what failed before counted', () => {
    const one = desired('a', { restart: { policy: 'on-failure', maxRetries: 2 } });
    const failed = planOf({ desired: [one], containers: [container('a', { ...ended, endedWithEngine: false })] });
    const lost = planOf({
      desired: [one],
      containers: [container('a', { ...ended, id: 'next' })],
      memory: failed.records,
    });
    expect(lost.records.get('a')).toMatchObject({ failures: 1 });
  });
});

it('names every workload that a step is about', () => {
  const all = planOf({ desired: [desired('a'), desired('b')], kept: [['gone', 'x']] }).ready;
  expect(all.map(workloadOf).sort()).toEqual(['a', 'b', 'gone']);
  expect(inputOf({}).inFlight).toEqual([]);
});

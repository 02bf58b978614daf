/** What holds for every manifest, every machine and every change, found by trying many. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Dependency } from '../manifest/workload.ts';
import { fits, heldBy } from './capacity.ts';
import { rememberFreeze, rememberThaw } from './freeze.ts';
import { plan } from './plan.ts';
import type { Desired, Memory, Plan, Step } from './state.ts';
import { container, desired, inputOf, MIB, NOW, ObedientEngine } from './test-scene.ts';

const names = ['a', 'b', 'c', 'd', 'e', 'f'];
const preemption = fc.constantFrom('freeze' as const, 'stop' as const, 'never' as const);

/** Some of the workloads a to f; each may depend on ones before it, so that there is no circle. */
const manifest = fc
  .array(
    fc.record({
      name: fc.constantFrom(...names),
      priority: fc.constantFrom(0, 100, 100, 500, 900, 1000),
      preemption,
      memLimit: fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined }),
      cpus: fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined }),
      handsOver: fc.boolean(),
      dependsOn: fc.option(fc.constantFrom(...names), { nil: undefined }),
      version: fc.constantFrom('1', '2'),
    }),
    { maxLength: 6 },
  )
  .map((list) => {
    const unique = [...new Map(list.map((one) => [one.name, one])).values()];
    return unique.map((one): Desired => {
      const before = one.dependsOn !== undefined && one.dependsOn < one.name ? one.dependsOn : undefined;
      const dependsOn: Dependency[] =
        before !== undefined && unique.some(({ name }) => name === before)
          ? [{ workload: before, condition: 'started' }]
          : [];
      const strategy = one.handsOver ? ('hand-over' as const) : ('kill-then-start' as const);
      return desired(
        one.name,
        {
          priority: one.priority,
          preemption: one.preemption,
          memLimit: one.memLimit === undefined ? undefined : one.memLimit * 64 * MIB,
          cpus: one.cpus === undefined ? undefined : one.cpus / 4,
          update: { strategy, rollback: 'on-unhealthy', when: 'now' },
          dependsOn,
        },
        `hash-${one.name}-${one.version}`,
      );
    });
  });

const capacity = fc
  .record({ memory: fc.integer({ min: 0, max: 12 }), cpus: fc.integer({ min: 0, max: 12 }) })
  .map(({ memory, cpus }) => ({ memory: memory * 64 * MIB, cpus: cpus / 4 }));

const neverAbove = (engine: ObedientEngine, step: Step) => {
  if (!fits(engine.held(), engine.capacity)) throw new Error(`above capacity after ${step.step}`);
};

it('never above capacity, and always at rest in the end, through changes of the manifest', () => {
  fc.assert(
    fc.property(fc.array(manifest, { minLength: 1, maxLength: 4 }), capacity, (manifests, room) => {
      const engine = new ObedientEngine({ desired: [], containers: [], capacity: room }, neverAbove);
      for (const wanted of manifests) {
        engine.desired = wanted;
        engine.settle(300);
      }
    }),
    { numRuns: 400 },
  );
});

const event = fc.record({
  kind: fc.constantFrom('ends' as const, 'freezes' as const, 'thaws' as const, 'sick' as const),
  name: fc.constantFrom(...names),
});

it('never above capacity, and always at rest in the end, whatever happens to containers', () => {
  fc.assert(
    fc.property(manifest, capacity, fc.array(event, { maxLength: 8 }), (wanted, room, events) => {
      const engine = new ObedientEngine({ desired: wanted, containers: [], capacity: room }, neverAbove);
      engine.settle(300);
      for (const { kind, name } of events) {
        const { nowMs } = engine;
        const known = engine.memory.get(name);
        const person = (memory: Memory) => {
          engine.memory = new Map(engine.memory).set(name, memory);
        };
        if (kind === 'ends') engine.change(name, { state: 'exited', exitCode: 1, finishedAtMs: nowMs });
        else if (kind === 'sick') engine.change(name, { health: 'unhealthy' });
        else if (known !== undefined)
          person(kind === 'freezes' ? rememberFreeze(known, nowMs) : rememberThaw(known, nowMs));
        engine.settle(300);
      }
      for (const { workload } of wanted) {
        const frozen = engine.memory.get(workload.name)?.frozenSinceMs !== undefined;
        const running = engine.containers.some((one) => one.workload === workload.name && one.state === 'running');
        if (frozen) expect(running).toBe(false);
      }
    }),
    { numRuns: 300 },
  );
});

it('a lower one never displaces a higher one', () => {
  fc.assert(
    fc.property(manifest, manifest, capacity, (before, after, room) => {
      const engine = new ObedientEngine({ desired: before, containers: [], capacity: room }, neverAbove);
      engine.settle(300);
      engine.desired = after;
      const priorityOf = (name: string) => after.find(({ workload }) => workload.name === name)?.workload.priority;
      for (let round = 0; round < 30; round++) {
        const next = plan(engine.input());
        for (const [name, { preempted }] of next.memory) {
          if (preempted === undefined || preempted.by === 'capacity') continue;
          const by = priorityOf(preempted.by);
          // Whom it made room for may have gone from the manifest, or another priority, since.
          if (by === undefined || preempted.atMs !== engine.nowMs || engine.memory.get(name)?.preempted) continue;
          expect(by).toBeGreaterThan(priorityOf(name)!);
        }
        engine.round();
      }
    }),
    { numRuns: 200 },
  );
});

it('at rest, nothing waits for room that lower ones could make, or that is there', () => {
  fc.assert(
    fc.property(fc.array(manifest, { minLength: 1, maxLength: 3 }), capacity, (manifests, room) => {
      const engine = new ObedientEngine({ desired: [], containers: [], capacity: room }, neverAbove);
      let last: Plan | undefined;
      for (const wanted of manifests) {
        engine.desired = wanted;
        last = engine.settle(300);
      }
      const { undeclared } = engine.input().resources;
      const waiting = engine.desired.filter(({ workload }) => last!.states.get(workload.name)?.detail === 'NoCapacity');
      for (const one of waiting) {
        const lower = engine.containers.filter((c) => {
          const other = engine.desired.find(({ workload }) => workload.name === c.workload)!.workload;
          const spared = one.workload.dependsOn.length > 0;
          return other.priority < one.workload.priority && other.preemption === 'stop' && !spared;
        });
        const held = engine.containers.filter((c) => !lower.includes(c)).map((c) => heldBy(c, undeclared));
        const left = held.reduce(
          (rest, claim) => ({ memory: rest.memory - claim.memory, cpus: rest.cpus - claim.cpus }),
          engine.capacity,
        );
        // What could not be made to give room back is not started into room that a higher one waits for.
        const higherWaits = engine.desired.some(({ workload }) => {
          const { detail, reason } = last!.states.get(workload.name)!;
          const waits = detail === 'NoCapacity' || reason.includes('and it waits:');
          return waits && workload.priority > one.workload.priority;
        });
        if (!higherWaits) expect(fits(engine.claim(one), left)).toBe(false);
      }
    }),
    { numRuns: 300 },
  );
});

it('the same input gives the same steps, whatever the order in which it comes', () => {
  fc.assert(
    fc.property(manifest, capacity, fc.array(fc.constantFrom(...names), { maxLength: 6 }), (wanted, room, there) => {
      const states = ['running', 'paused', 'exited', 'created'] as const;
      const containers = there.map((name, i) =>
        container(name, {
          id: `${name}-${i}`,
          state: states[i % states.length]!,
          configHash: `hash-${name}-${(i % 2) + 1}`,
          startedAtMs: NOW - i,
        }),
      );
      const scene = { desired: wanted, containers, capacity: room };
      const first = plan(inputOf(scene));
      expect(plan(inputOf(scene))).toEqual(first);
      const turned = plan(inputOf({ ...scene, desired: [...wanted].reverse() }));
      expect(turned.steps).toEqual(first.steps);
      expect(new Map(turned.states)).toEqual(new Map(first.states));
    }),
    { numRuns: 300 },
  );
});

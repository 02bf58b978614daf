/** What holds for every manifest, every machine and every change, found by trying many. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { capacity, event, manifest, names, neverAbove } from '../../test/support/planner-arbitraries.ts';
import { container, inputOf, NOW, ObedientEngine } from '../../test/support/planner-scene.ts';
import { rounds } from '../../test/support/rounds.ts';
import { rememberFreeze, rememberThaw } from './freeze.ts';
import { plan } from './plan.ts';
import { fits, heldBy } from './resources/capacity.ts';
import type { Plan, WorkloadRecord } from './state.ts';

it('never above capacity, and always at rest in the end, through changes of the manifest', () => {
  fc.assert(
    fc.property(fc.array(manifest, { minLength: 1, maxLength: 4 }), capacity, (manifests, room) => {
      const engine = new ObedientEngine({ desired: [], containers: [], capacity: room }, neverAbove);
      for (const wanted of manifests) {
        engine.desired = wanted;
        engine.settle(300);
      }
    }),
    { numRuns: rounds(200, 400) },
  );
});

it('never above capacity, and always at rest in the end, whatever happens to containers', () => {
  fc.assert(
    fc.property(manifest, capacity, fc.array(event, { maxLength: 8 }), (wanted, room, events) => {
      const engine = new ObedientEngine({ desired: wanted, containers: [], capacity: room }, neverAbove);
      engine.settle(300);
      for (const { kind, name } of events) {
        const { nowMs } = engine;
        const known = engine.memory.get(name);
        const person = (memory: WorkloadRecord) => {
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
    { numRuns: rounds(150, 300) },
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
        for (const [name, { preempted }] of next.records) {
          if (preempted === undefined || preempted.by === 'capacity') continue;
          const by = priorityOf(preempted.by);
          // Whom it made room for may have gone from the manifest, or another priority, since.
          if (by === undefined || preempted.atMs !== engine.nowMs || engine.memory.get(name)?.preempted) continue;
          expect(by).toBeGreaterThan(priorityOf(name)!);
        }
        engine.round();
      }
    }),
    { numRuns: rounds(100, 200) },
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
    { numRuns: rounds(150, 300) },
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
    { numRuns: rounds(150, 300) },
  );
});

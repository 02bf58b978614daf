/** For property tests: manifests, machines and things that happen, as fast-check makes them. */
import fc from 'fast-check';
import type { Dependency } from '../../obu/manifest/workload.ts';
import { fits } from '../../obu/planner/resources/capacity.ts';
import type { Desired, Step } from '../../obu/planner/state.ts';
import { desired, MIB, type ObedientEngine } from './planner-scene.ts';

export const names = ['a', 'b', 'c', 'd', 'e', 'f'];
const preemption = fc.constantFrom('freeze' as const, 'stop' as const, 'never' as const);

/** Some of the workloads a to f; each may depend on ones before it, so that there is no circle. */
export const manifest = fc
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

export const capacity = fc
  .record({ memory: fc.integer({ min: 0, max: 12 }), cpus: fc.integer({ min: 0, max: 12 }) })
  .map(({ memory, cpus }) => ({ memory: memory * 64 * MIB, cpus: cpus / 4 }));

export const neverAbove = (engine: ObedientEngine, step: Step) => {
  if (!fits(engine.held(), engine.capacity)) throw new Error(`above capacity after ${step.step}`);
};

export const event = fc.record({
  kind: fc.constantFrom('ends' as const, 'freezes' as const, 'thaws' as const, 'sick' as const),
  name: fc.constantFrom(...names),
});

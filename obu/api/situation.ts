import { displacedBy } from '../planner/displaced.ts';
import { capacityOf } from '../planner/resources/capacity.ts';
import type { Reconciler } from '../workloads/reconciler.ts';

/** Names of the workloads of higher priority that have the room of this one; empty when that is not why it does not run. */
export function displacers(
  reconciler: Pick<Reconciler, 'desired' | 'state' | 'memory' | 'resources'>,
  workload: string,
): readonly string[] {
  const { resources } = reconciler;
  return displacedBy(workload, {
    workloads: reconciler.desired.map((one) => one.workload),
    state: (name) => reconciler.state(name),
    memory: (name) => reconciler.memory(name),
    capacity: capacityOf(resources),
    undeclared: resources.undeclared,
  });
}

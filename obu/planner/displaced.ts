/** Which workloads do not run because the manifest's own priorities say so, as opposed to those that have failed. */
import type { Workload } from '../manifest/workload.ts';
import { claimOf, fits, minus, sumOf } from './resources/capacity.ts';
import type { Claim, WorkloadRecord, WorkloadState } from './state.ts';

export interface Situation {
  readonly workloads: readonly Workload[];
  readonly state: (workload: string) => WorkloadState;
  readonly memory: (workload: string) => Pick<WorkloadRecord, 'preempted'>;
  /** The capacity for all workloads together. */
  readonly capacity: Claim;
  /** The claim of a workload that declares no limit. */
  readonly undeclared: Claim;
}

/**
 * Names of the workloads of higher priority that have the room of this one; empty when it is not they that keep it from
 * running. What never fits, what lacks room beside its equals, and what was shed under measured pressure has no such
 * names.
 */
export function displacedBy(name: string, situation: Situation): readonly string[] {
  const { workloads, state, memory, capacity, undeclared } = situation;
  const self = workloads.find((one) => one.name === name);
  if (self === undefined || !makesRoom(state(name))) return [];
  const { preempted } = memory(name);
  if (preempted !== undefined && preempted.cause !== 'capacity') return [];
  const higher = workloads.filter((one) => one.priority > self.priority && hasRoom(state(one.name)));
  if (higher.some((one) => one.name === preempted?.by)) return [preempted!.by];
  const need = claimOf(self, undeclared);
  const left = minus(capacity, sumOf(higher.map((one) => claimOf(one, undeclared))));
  return fits(need, capacity) && !fits(need, left) ? higher.map((one) => one.name).sort() : [];
}

/** It does not run for want of room, or was frozen for it. */
export function makesRoom({ state, detail }: Pick<WorkloadState, 'state' | 'detail'>): boolean {
  if (state === 'Frozen') return detail !== 'person' && detail !== 'outside';
  return state === 'Pending' && detail === 'NoCapacity';
}

/** It holds room, or room is kept for it. */
function hasRoom({ state, detail }: WorkloadState): boolean {
  if (state === 'Running' || state === 'Stopping' || state === 'Frozen') return true;
  return state === 'Pending' && ['Starting', 'BackingOff', 'CrashLoop'].includes(detail);
}

import type { Desired } from '../planner/state.ts';

/**
 * The effect of another manifest on one workload. `replaced`: its container has to be another one; `adjusted`: its
 * container stays, and its grants, its priority or what is done when it ends are others.
 */
export type Change = 'added' | 'removed' | 'replaced' | 'adjusted' | 'unchanged';

export interface WorkloadChange {
  readonly workload: string;
  readonly change: Change;
}

/** By name of the workload. */
export function changesBetween(before: readonly Desired[], after: readonly Desired[]): WorkloadChange[] {
  const old = new Map(before.map((one) => [one.workload.name, one]));
  const names = new Set(after.map(({ workload }) => workload.name));
  const changed = after.map((one): WorkloadChange => {
    const { name } = one.workload;
    const was = old.get(name);
    if (was === undefined) return { workload: name, change: 'added' };
    if (was.configHash !== one.configHash) return { workload: name, change: 'replaced' };
    const same = JSON.stringify(was.workload) === JSON.stringify(one.workload);
    return { workload: name, change: same ? 'unchanged' : 'adjusted' };
  });
  const gone = before.filter(({ workload }) => !names.has(workload.name));
  return [
    ...changed,
    ...gone.map(({ workload }): WorkloadChange => ({ workload: workload.name, change: 'removed' })),
  ].sort((a, b) => (a.workload < b.workload ? -1 : 1));
}

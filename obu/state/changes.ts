import type { Workload } from '../manifest/workload.ts';

/**
 * The effect of another manifest on one workload. `replaced`: its container has to be another one; `adjusted`: its
 * container stays, and its grants, its priority or what is done when it ends are others.
 */
export type Change = 'added' | 'removed' | 'replaced' | 'adjusted' | 'unchanged';

export interface WorkloadChange {
  readonly workload: string;
  readonly change: Change;
}

/** By name of the workload. @param hashOf Hash of everything that its container is made from. */
export function changesBetween(
  before: readonly Workload[],
  after: readonly Workload[],
  hashOf: (workload: Workload) => string,
): WorkloadChange[] {
  const old = new Map(before.map((workload) => [workload.name, workload]));
  const names = new Set(after.map(({ name }) => name));
  const changed = after.map((workload): WorkloadChange => {
    const was = old.get(workload.name);
    if (was === undefined) return { workload: workload.name, change: 'added' };
    if (hashOf(was) !== hashOf(workload)) return { workload: workload.name, change: 'replaced' };
    const same = JSON.stringify(was) === JSON.stringify(workload);
    return { workload: workload.name, change: same ? 'unchanged' : 'adjusted' };
  });
  const gone = before.filter(({ name }) => !names.has(name));
  return [...changed, ...gone.map(({ name }): WorkloadChange => ({ workload: name, change: 'removed' }))].sort(
    (a, b) => (a.workload < b.workload ? -1 : 1),
  );
}

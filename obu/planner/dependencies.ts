/** The dependencies that a workload waits for before it is started. */
import type { Dependency, Workload } from '../manifest/workload.ts';
import type { ObservedContainer, PlanInput } from './state.ts';

/** A sentence about the first dependency that is not met; undefined when all are. */
export function dependencyFault({ dependsOn }: Workload, input: PlanInput): string | undefined {
  for (const dependency of dependsOn) {
    const fault = faultOf(dependency, input);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function faultOf({ workload, condition }: Dependency, { desired, observed, records: memory, owner }: PlanInput) {
  const wanted = desired.find((one) => one.workload.name === workload);
  if (wanted === undefined) return `it waits for ${workload}, which the manifest does not name`;
  const own = observed.containers.filter((one) => one.owner === owner && one.workload === workload);
  const running = own.filter(({ state }) => state === 'running');
  const end = memory.get(workload)?.lastEnd;
  const completed = own.some(endedWell) || (running.length === 0 && end?.kind === 'exited' && end.exitCode === 0);
  switch (condition) {
    case 'started':
      return completed ||
        own.some(({ startedAtMs, state }) => startedAtMs > 0 && (state === 'running' || state === 'paused'))
        ? undefined
        : `it waits for ${workload} to be started`;
    case 'healthy': {
      if (running.some(({ health }) => health === 'healthy')) return undefined;
      const unknown = running.length > 0 && running.every(({ health }) => health === 'none');
      const hint = unknown ? `, and ${workload} has no health check that could say so: give it a healthcheck` : '';
      return `it waits for ${workload} to be healthy${hint}`;
    }
    case 'completed':
      return completed ? undefined : `it waits for ${workload} to end with exit code 0`;
  }
}

function endedWell({ state, exitCode, endedWithEngine = false }: ObservedContainer): boolean {
  return state === 'exited' && exitCode === 0 && !endedWithEngine;
}

/** Names of everything that this workload depends on, however far away. */
export function allDependencies(name: string, input: Pick<PlanInput, 'desired'>): ReadonlySet<string> {
  const found = new Set<string>();
  const visit = (workload: string): void => {
    for (const one of input.desired.find((other) => other.workload.name === workload)?.workload.dependsOn ?? []) {
      if (found.has(one.workload)) continue;
      found.add(one.workload);
      visit(one.workload);
    }
  };
  visit(name);
  return found;
}

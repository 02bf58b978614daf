/** What a plan changes, for whoever listens. */
import type { Plan, WorkloadRecord, WorkloadState } from '../planner/state.ts';
import type { Report } from '../telemetry/report.ts';

/** Who has to make room now, and had not before. */
export function reportPreempted(next: Plan, before: (workload: string) => WorkloadRecord, report: Report): void {
  for (const [workload, { preempted }] of next.records) {
    // What it was before this OBU was started has been told by the one before it.
    if (preempted !== undefined && preempted.atMs !== before(workload).preempted?.atMs)
      report({ event: 'preempted', workload, preempted });
  }
}

/** Which workloads are in another state, or in the same one for another reason. */
export function reportStates(
  before: ReadonlyMap<string, WorkloadState>,
  now: ReadonlyMap<string, WorkloadState>,
  report: Report,
): void {
  for (const [workload, state] of now) {
    const old = before.get(workload);
    if (old?.state === state.state && old.detail === state.detail && old.reason === state.reason) continue;
    report({ event: 'workload-state', workload, state });
  }
}

/** What a plan changes, to the log and to whoever listens. */
import type { Plan, WorkloadRecord, WorkloadState } from '../planner/state.ts';
import type { ReconcilerParts } from './reconciler-parts.ts';

type Listeners = Pick<ReconcilerParts, 'observer' | 'onFailure' | 'log'>;

/** Who has to make room now, and had not before. */
export function reportPreempted(
  next: Plan,
  before: (workload: string) => WorkloadRecord,
  { observer }: Listeners,
): void {
  for (const [workload, { preempted }] of next.records) {
    // What it was before this OBU was started has been told by the one before it.
    if (preempted !== undefined && preempted.atMs !== before(workload).preempted?.atMs)
      observer?.onPreempted(workload, preempted);
  }
}

/** Which workloads are in another state, or in the same one for another reason. */
export function reportStates(
  before: ReadonlyMap<string, WorkloadState>,
  now: ReadonlyMap<string, WorkloadState>,
  { observer, onFailure, log }: Listeners,
): void {
  for (const [workload, state] of now) {
    const old = before.get(workload);
    if (old?.state === state.state && old.detail === state.detail && old.reason === state.reason) continue;
    const failed = state.state === 'Failed' || state.detail === 'BackingOff' || state.detail === 'CrashLoop';
    const word = `${state.state}${state.detail === '' ? '' : `(${state.detail})`}`;
    log[failed ? 'warn' : 'info']({ workload }, `workload ${workload}: ${word}: ${state.reason}`);
    observer?.onState(workload, state);
    if (failed && state.detail !== 'ImageMissing') onFailure(workload, state.reason);
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import type { ObuStatus, WorkloadStatus } from '../../shared/api/status.ts';

const POLL_MS = 200;

/** States that do not last: the planner or the engine is at work. */
export function isMoving({ state, detail, update }: Pick<WorkloadStatus, 'state' | 'detail' | 'update'>): boolean {
  if (state === 'Stopping' || update === 'handing-over') return true;
  return (state === 'Pending' || state === 'Running') && detail === 'Starting';
}

/** What a person who applies a manifest wants to see in the end; an update may have to wait until the vehicle is parked. */
export function isWell({ state, detail, update }: Pick<WorkloadStatus, 'state' | 'detail' | 'update'>): boolean {
  if (update === 'handing-over' || update === 'rolled-back') return false;
  return state === 'Succeeded' || (state === 'Running' && detail === 'Ok');
}

export function stateWord({ state, detail }: Pick<WorkloadStatus, 'state' | 'detail'>): string {
  return detail === '' ? state : `${state}(${detail})`;
}

export interface SettleOptions {
  readonly status: () => Promise<ObuStatus>;
  /** Told of each state that a workload comes into. */
  readonly onState: (workload: WorkloadStatus) => void;
  /** Milliseconds. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * Waits until no workload is on its way any more; one that waits for another is, as long as another moves.
 * @returns the workloads as they are then, or as they are when the time is over or `signal` fires
 */
export async function untilSettled(options: SettleOptions): Promise<readonly WorkloadStatus[]> {
  const { status, onState, timeoutMs, signal } = options;
  const endMs = performance.now() + timeoutMs;
  const told = new Map<string, string>();
  for (;;) {
    const { workloads } = await status();
    for (const workload of workloads) {
      const word = `${stateWord(workload)}: ${workload.reason}`;
      if (told.get(workload.name) === word) continue;
      told.set(workload.name, word);
      onState(workload);
    }
    if (!workloads.some(isMoving) || signal.aborted || performance.now() > endMs) return workloads;
    await sleep(POLL_MS, undefined, { signal }).catch(() => {}); // interrupted: looks once more and returns
  }
}

import { HOLD_MS } from './admit.ts';
import { makesRoom } from './displaced.ts';
import { FIRST_BACKOFF_MS, LONGEST_BACKOFF_MS } from './restart.ts';
import type { WorkloadRecord, WorkloadState } from './state.ts';

/** A container counts as healthy only after this time: programs that fail at once have failed by then. */
export const PROVE_MS = 300;

/**
 * Milliseconds until something is done about a workload at the latest: its back-off ends, there has been room for it
 * for long enough, or it has run for long enough not to have failed at once. Undefined when nothing is due.
 * @param startedMs when the container that runs was started; undefined when none does
 */
export function dueMs(
  { state, detail }: WorkloadState,
  { lastEnd, failures, preempted }: Pick<WorkloadRecord, 'lastEnd' | 'failures' | 'preempted'>,
  nowMs: number,
  startedMs?: number,
): number | undefined {
  const isBackingOff = state === 'Pending' && (detail === 'BackingOff' || detail === 'CrashLoop');
  if (isBackingOff && lastEnd !== undefined) {
    // The back-off itself is shorter by chance.
    const longest = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(Math.max(0, failures - 1), 30));
    return left(lastEnd.atMs, longest, nowMs);
  }
  if (makesRoom({ state, detail }) && preempted?.roomSinceMs !== undefined) {
    return left(preempted.roomSinceMs, HOLD_MS, nowMs);
  }
  if (state === 'Running' && startedMs !== undefined && nowMs - startedMs < PROVE_MS) {
    return left(startedMs, PROVE_MS, nowMs);
  }
  return undefined;
}

/** A clock that was set back makes nothing longer. */
function left(sinceMs: number, forMs: number, nowMs: number): number {
  return Math.min(forMs, Math.max(0, sinceMs + forMs - nowMs));
}

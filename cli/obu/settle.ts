import type { ObuStatus, WorkloadStatus } from '../../shared/api/status.ts';
import { type SeenState, stateWord } from '../../shared/api/workload-state.ts';
import { pause } from '../../shared/base/pause.ts';

/** A start takes about as long as the first few looks; what takes longer is looked at less often. */
const FIRST_POLL_MS = 20;
const LONGEST_POLL_MS = 200;
/** What is due within this time is waited for: the end of a back-off, or room that has to last a while before it is used. */
const SOON_MS = 5000;
/** How long an OBU may take to see an image that has just been loaded. */
const LOADED_MS = 5000;

/** States that do not last: the planner or the engine is at work, or will be soon. */
export function isMoving({ state, detail, update, dueMs, isOld }: SeenState & Pick<WorkloadStatus, 'dueMs'>): boolean {
  // The engine may only be starting again.
  if (isOld === true) return true;
  if (state === 'Stopping' || update === 'handing-over') return true;
  if (dueMs !== undefined && dueMs <= SOON_MS) return true;
  return (state === 'Pending' || state === 'Running') && detail === 'Starting';
}

export interface SettleOptions {
  readonly status: () => Promise<ObuStatus>;
  /** Told of each state that a workload comes into. */
  readonly onState: (workload: WorkloadStatus) => void;
  /** Images that have just been loaded: that they are missing is old news. */
  readonly loaded?: ReadonlySet<string> | undefined;
  /** Milliseconds. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface Settled {
  readonly workloads: readonly WorkloadStatus[];
  /** Why they were looked at for the last time: nothing moves any more, the time is over, or `signal` has fired. */
  readonly end: 'settled' | 'timed-out' | 'interrupted';
}

/**
 * Waits until no workload is on its way any more; one that waits for another is, as long as another moves.
 * @returns the workloads as they are then
 */
export async function untilSettled(options: SettleOptions): Promise<Settled> {
  const { status, onState, timeoutMs, signal, loaded } = options;
  const beganMs = performance.now();
  const told = new Map<string, string>();
  for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(LONGEST_POLL_MS, pollMs * 1.2)) {
    const { workloads } = await status();
    for (const workload of workloads) {
      const word = `${stateWord(workload)}: ${workload.reason}`;
      if (told.get(workload.name) === word) continue;
      told.set(workload.name, word);
      onState(workload);
    }
    const tookMs = performance.now() - beganMs;
    const isNew = ({ detail, image }: WorkloadStatus) =>
      detail === 'ImageMissing' && tookMs < LOADED_MS && loaded?.has(image) === true;
    if (!workloads.some((one) => isMoving(one) || isNew(one))) return { workloads, end: 'settled' };
    if (signal.aborted) return { workloads, end: 'interrupted' };
    if (tookMs > timeoutMs) return { workloads, end: 'timed-out' };
    await pause(pollMs, signal); // interrupted: looks once more and returns
  }
}

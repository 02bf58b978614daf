import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits so many milliseconds, or until `signal` fires.
 * @returns whether the time is over; false when the signal fired first. Never rejects.
 */
export function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  return sleep(ms, true, { signal }).catch(() => false);
}

/**
 * Does the task, waits, and does it again, until `signal` fires. Resolves after the task that is under way then.
 * @param everyMs milliseconds from the end of one to the beginning of the next
 * @throws what the task throws
 */
export async function repeat(
  everyMs: number,
  signal: AbortSignal,
  task: () => Promise<unknown> | unknown,
): Promise<void> {
  while (!signal.aborted) {
    await task();
    await pause(everyMs, signal);
  }
}

/** Resolves when `signal` fires, or at once when it has fired. */
export async function untilAborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}

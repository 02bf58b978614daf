import { backOffMs } from '../../../shared/base/back-off.ts';

/**
 * A camera that refuses a password is not asked like one that is only away: many lock the account after some wrong
 * ones, and then the right one does not help either.
 */

/** Longest time between two tries, in milliseconds. */
const LONGEST_MS = 15 * 60_000;

/** True for a failure in which the camera refused user and password (RTSP 1.0: 401; some say 403). */
export function isRefusal(reason: string): boolean {
  return /\b40[13] (unauthorized|forbidden)|authorization failed|access denied/i.test(reason);
}

/**
 * Milliseconds until the next try after so many refusals in a row.
 * @param firstMs after the first; doubled by each further one, up to a quarter of an hour
 */
export function refusalDelayMs(refusals: number, firstMs: number): number {
  return backOffMs(refusals, { firstMs, longestMs: Math.max(LONGEST_MS, firstMs) });
}

/** Milliseconds as a person reads them: "40 s", "3 min". */
export function waitText(ms: number): string {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  return seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}

/**
 * When the next tender of a package may be started after one died or would not start. Pure; times in milliseconds of one
 * monotonic clock.
 *
 * Each failure without a served call in between makes the wait longer, and five within a minute put the package into
 * quarantine. After it one tender is tried; when that fails too, the next quarantine is twice as long. A tender that got no
 * processor has not failed.
 */
export type Health =
  | { readonly state: 'well' }
  | { readonly state: 'backing-off'; readonly failures: readonly number[]; readonly until: number }
  | { readonly state: 'quarantined'; readonly times: number; readonly until: number };

export const WELL: Health = { state: 'well' };

export const QUARANTINE_AFTER = 5;
const WINDOW_MS = 60_000;
const FIRST_BACK_OFF_MS = 50;
const STARVED_BACK_OFF_MS = 1_000;
const FIRST_QUARANTINE_MS = 10_000;
const MAX_QUARANTINE_MS = 300_000;

/** A tender died, or would not start. */
export function afterFailure(health: Health, now: number): Health {
  if (health.state === 'quarantined') return quarantine(health.times + 1, now);
  const before = health.state === 'backing-off' ? health.failures : [];
  const failures = [...before.filter((at) => now - at < WINDOW_MS), now];
  if (failures.length >= QUARANTINE_AFTER) return quarantine(1, now);
  return { state: 'backing-off', failures, until: now + FIRST_BACK_OFF_MS * 2 ** (failures.length - 1) };
}

/**
 * A tender was given up because it got no processor. That says nothing about the package, so it counts for nothing; but
 * starting another one at once would keep a busy machine busier.
 */
export function afterStarvation(health: Health, now: number): Health {
  const until = now + STARVED_BACK_OFF_MS;
  if (health.state === 'quarantined') return { ...health, until };
  return { state: 'backing-off', failures: health.state === 'backing-off' ? health.failures : [], until };
}

/** No tender may be started before this moment. */
export function blockedUntil(health: Health): number {
  return health.state === 'well' ? Number.NEGATIVE_INFINITY : health.until;
}

function quarantine(times: number, now: number): Health {
  return {
    state: 'quarantined',
    times,
    until: now + Math.min(MAX_QUARANTINE_MS, FIRST_QUARANTINE_MS * 2 ** (times - 1)),
  };
}

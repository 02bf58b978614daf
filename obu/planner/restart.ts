import type { RestartPolicy } from '../manifest/workload.ts';
import type { End, ObservedContainer, Version, WorkloadRecord } from './state.ts';
import { sameVersion } from './version.ts';

/** The first restart comes after this time, each further one in a row after twice the time of the one before. */
export const FIRST_BACKOFF_MS = 500;
export const LONGEST_BACKOFF_MS = 300_000;
/** Back-offs are shorter by up to this part, so that what fell together does not get up together. */
export const JITTER = 0.2;
/** A container that ran this long was healthy: its end begins a new row. As long as the Docker Engine takes for it. */
export const GOOD_RUN_MS = 10_000;
/** After so many ends in a row it is called a crash loop. It is started again as before. */
export const CRASH_LOOP_ENDS = 5;

/**
 * How long to wait after so many ends in a row, in milliseconds.
 * @param seed the same seed and key give the same time
 */
export function backoffMs(failures: number, seed: number, key: string): number {
  if (failures === 0) return 0;
  const full = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures - 1, 30));
  return Math.round(full * (1 - JITTER * fraction(`${seed} ${key} ${failures}`)));
}

/** 0..1 out of a text: FNV-1a. */
function fraction(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0) / 2 ** 32;
}

export function isFailure(end: End): boolean {
  return end.kind !== 'exited' || end.exitCode !== 0;
}

/** True when the restart policy asks for another start after this end. `failures` counts this one. */
export function wantsRestart(policy: RestartPolicy, end: End, failures: number): boolean {
  switch (policy.policy) {
    case 'no':
      return false;
    case 'always':
    case 'unless-stopped':
      return true;
    case 'on-failure':
      return isFailure(end) && (policy.maxRetries === undefined || failures <= policy.maxRetries);
  }
}

export const newRecord: WorkloadRecord = {
  version: undefined,
  restarts: 0,
  failures: 0,
  lastEnd: undefined,
  lastContainer: '',
  good: undefined,
  bad: undefined,
  frozenSinceMs: undefined,
  preempted: undefined,
};

/** Memory of a workload under this version: what another version did says nothing about it. */
export function recordFor(record: WorkloadRecord, version: Version): WorkloadRecord {
  if (sameVersion(record.version, version)) return { ...record, version };
  return { ...record, version, restarts: 0, failures: 0, lastEnd: undefined, lastContainer: '' };
}

const SIGKILLED = 128 + 9;

/**
 * True when it was killed for lack of memory. The engine's mark alone does not say so: it stays on a container of which
 * the kernel has once killed some other process than the first.
 */
export function ranOutOfMemory({ oomKilled, exitCode }: Pick<ObservedContainer, 'oomKilled' | 'exitCode'>): boolean {
  return oomKilled && exitCode === SIGKILLED;
}

/** Counts the end of a container, once. */
export function rememberEnd(record: WorkloadRecord, container: ObservedContainer): WorkloadRecord {
  if (record.lastContainer === container.id) return record;
  const ranMs = container.startedAtMs === 0 ? 0 : container.finishedAtMs - container.startedAtMs;
  return {
    ...record,
    failures: ranMs >= GOOD_RUN_MS ? 1 : record.failures + 1,
    lastEnd: {
      kind: ranOutOfMemory(container) ? 'out-of-memory' : 'exited',
      exitCode: container.exitCode,
      message: '',
      atMs: container.finishedAtMs,
    },
    lastContainer: container.id,
  };
}

/** Counts a start that the engine refused. */
export function rememberRefusedStart(record: WorkloadRecord, message: string, atMs: number): WorkloadRecord {
  const lastEnd: End = { kind: 'could-not-start', exitCode: 0, message, atMs };
  return { ...record, failures: record.failures + 1, lastEnd, lastContainer: '' };
}

/** Counts a start that worked. */
export function rememberStart(record: WorkloadRecord): WorkloadRecord {
  return record.lastEnd === undefined ? record : { ...record, restarts: record.restarts + 1 };
}

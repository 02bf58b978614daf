import type { RestartPolicy } from '../manifest/workload.ts';
import type { Desired, End, Memory, ObservedContainer } from './state.ts';

/** The first restart comes after this time, each further one in a row after twice the time of the one before. */
export const FIRST_BACKOFF_MS = 500;
export const LONGEST_BACKOFF_MS = 60_000;
/** A container that ran this long was healthy: its end begins a new row. */
export const GOOD_RUN_MS = 60_000;

/** How long to wait after so many ends in a row, in milliseconds. */
export function backoffMs(failures: number): number {
  return failures === 0 ? 0 : Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures - 1, 30));
}

/** Whether the policy wants another start after this end. `failures` counts this one. */
export function wantsRestart(policy: RestartPolicy, end: End, failures: number): boolean {
  switch (policy.policy) {
    case 'no':
      return false;
    case 'always':
    case 'unless-stopped':
      return true;
    case 'on-failure': {
      const failed = end.kind !== 'exited' || end.exitCode !== 0;
      return failed && (policy.maxRetries === undefined || failures <= policy.maxRetries);
    }
  }
}

export function freshMemory(configHash: string): Memory {
  return { configHash, restarts: 0, failures: 0, lastEnd: undefined, lastContainer: '' };
}

/** Memory of a workload under its present configuration: another configuration is another workload. */
export function memoryOf(memory: ReadonlyMap<string, Memory>, desired: Desired): Memory {
  const known = memory.get(desired.workload.name);
  return known?.configHash === desired.configHash ? known : freshMemory(desired.configHash);
}

/** Counts the end of a container, once. */
export function rememberEnd(memory: Memory, container: ObservedContainer): Memory {
  if (memory.lastContainer === container.id) return memory;
  const ranMs = container.startedAtMs === 0 ? 0 : container.finishedAtMs - container.startedAtMs;
  return {
    ...memory,
    failures: ranMs >= GOOD_RUN_MS ? 1 : memory.failures + 1,
    lastEnd: {
      kind: container.oomKilled ? 'out-of-memory' : 'exited',
      exitCode: container.exitCode,
      message: '',
      atMs: container.finishedAtMs,
    },
    lastContainer: container.id,
  };
}

/** Counts a start that the engine refused. */
export function rememberRefusedStart(memory: Memory, message: string, atMs: number): Memory {
  const lastEnd: End = { kind: 'could-not-start', exitCode: 0, message, atMs };
  return { ...memory, failures: memory.failures + 1, lastEnd, lastContainer: '' };
}

/** Counts a start that worked. */
export function rememberStart(memory: Memory): Memory {
  return memory.lastEnd === undefined ? memory : { ...memory, restarts: memory.restarts + 1 };
}

import { createHash } from 'node:crypto';
import type { OutputToKeep, StateChange, StateKey } from './state-types.ts';

/** Bytes that an entry counts for beside its value or output, so that many small ones are bounded too. */
export const ENTRY_BYTES = 256;

export function partsOf({ tenant, task, vehicle, key }: StateKey): [string, string, string, string] {
  return [tenant, task, vehicle, key];
}

export function askerText({ tenant, vehicle, id }: { tenant?: unknown; vehicle?: unknown; id?: unknown }): string {
  return `${tenant}\n${vehicle}\n${id}`;
}

export function bytesOfValue(key: StateKey, value: Uint8Array): number {
  return value.length + key.key.length + ENTRY_BYTES;
}

export function bytesOf({ output }: OutputToKeep): number {
  return output.length + ENTRY_BYTES;
}

/** Keys and bytes by which the tenant has more afterwards. @param had bytes of the value that is there; 0: none is */
export function growth(change: StateChange, key: StateKey, had: number): [keys: number, bytes: number] {
  const had1 = had > 0 ? 1 : 0;
  if (change.action === 'keep') return [0, 0];
  if (change.action === 'delete') return [-had1, -had];
  return [1 - had1, bytesOfValue(key, change.value) - had];
}

/** Milliseconds since 1970 that run on evenly, however the clock is set meanwhile. */
export function steadyNow(): () => number {
  const startedAt = Date.now() - performance.now();
  return () => Math.round(startedAt + performance.now());
}

export function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

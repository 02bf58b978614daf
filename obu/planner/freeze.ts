import type { WorkloadRecord } from './state.ts';

/** A person wants it frozen. @param wallMs milliseconds since 1970 by the clock on the wall */
export function rememberFreeze(record: WorkloadRecord, wallMs: number): WorkloadRecord {
  return { ...record, frozenSinceMs: record.frozenSinceMs ?? wallMs };
}

/** A person wants it to run again: at once, when there is room for it. */
export function rememberThaw(record: WorkloadRecord, nowMs: number): WorkloadRecord {
  const why = 'a person has thawed it';
  return {
    ...record,
    frozenSinceMs: undefined,
    preempted: { how: 'freeze', cause: 'capacity', by: 'person', why, atMs: nowMs, roomSinceMs: 0 },
  };
}

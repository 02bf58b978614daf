import type { Memory } from './state.ts';

/** A person wants it frozen. @param wallMs milliseconds since 1970 by the clock on the wall */
export function rememberFreeze(memory: Memory, wallMs: number): Memory {
  return { ...memory, frozenSinceMs: memory.frozenSinceMs ?? wallMs };
}

/** A person wants it to run again: at once, when there is room for it. */
export function rememberThaw(memory: Memory, nowMs: number): Memory {
  const why = 'a person has thawed it';
  return {
    ...memory,
    frozenSinceMs: undefined,
    preempted: { how: 'freeze', cause: 'capacity', by: 'person', why, atMs: nowMs, roomSinceMs: 0 },
  };
}

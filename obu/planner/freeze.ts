import type { Memory } from './state.ts';

/** A person wants it frozen. */
export function rememberFreeze(memory: Memory, nowMs: number): Memory {
  return { ...memory, frozenSinceMs: memory.frozenSinceMs ?? nowMs };
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

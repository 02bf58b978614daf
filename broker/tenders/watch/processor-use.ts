import { readFileSync } from 'node:fs';
import type { ProcessorUse } from './lateness.ts';

/** Ticks in `stat`: USER_HZ is 100 on every machine that Linux calls its own (proc(5)). */
const TICK_MS = 10;

/**
 * CPU time of a process and its children, those included that it has waited for, and whether all of them sleep. Reads a few
 * small files, with the event loop waiting: for tenders that are late, not for each call.
 * @returns undefined when it is gone, or /proc does not say
 */
export function processorUse(pid: number): ProcessorUse | undefined {
  const own = useOf(pid);
  if (own === undefined) return undefined;
  let { cpuMs, asleep } = own;
  for (const child of read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean)) {
    const use = useOf(child);
    cpuMs += use?.cpuMs ?? 0;
    asleep &&= use?.asleep ?? true;
  }
  return { cpuMs, asleep };
}

function useOf(pid: number | string): ProcessorUse | undefined {
  return parseUse(read(`/proc/${pid}/stat`), read(`/proc/${pid}/schedstat`));
}

/** `stat` has ticks of 10 ms and what its children had; `schedstat` nanoseconds, where the kernel keeps it. */
export function parseUse(stat: string, schedstat: string): ProcessorUse | undefined {
  // The name of the program, in brackets, may hold anything.
  const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [user, system, childrensUser, childrensSystem] = fields.slice(10, 14).map(Number);
  if (childrensSystem === undefined || state === undefined) return undefined;
  const precise = /^\d+/.exec(schedstat)?.[0];
  const own = precise === undefined ? (user! + system!) * TICK_MS : Number(precise) / 1e6;
  const cpuMs = own + (childrensUser! + childrensSystem) * TICK_MS;
  return Number.isFinite(cpuMs) ? { cpuMs, asleep: 'SIZX'.includes(state) } : undefined;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** What Linux says about a process. Memory in KiB. */
import { readFileSync } from 'node:fs';

/** Clock ticks per second of /proc/PID/stat; the same on every Linux that Node runs on. */
const HERTZ = 100;

export interface Memory {
  /** Shared pages divided among those who share them (PSS). */
  readonly proportional: number;
  /** Of that, pages that are no part of a file: heaps and stacks. */
  readonly anonymous: number;
  /** As if nothing was shared (RSS). */
  readonly resident: number;
}

/** @throws the system's error when the process is gone or another user's */
export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = (key: string) => {
    const found = new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(text);
    if (!found) throw new Error(`/proc/${pid}/smaps_rollup shows no ${key}`);
    return Number(found[1]);
  };
  return { proportional: kib('Pss'), anonymous: kib('Pss_Anon'), resident: kib('Rss') };
}

/** Seconds of processor time, user and system, of all threads so far. Resolution: 10 ms. */
export function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / HERTZ;
}

/** What Linux says about a process. Memory in KiB. */
import { readFileSync, readlinkSync } from 'node:fs';

/** Clock ticks per second of /proc/PID/stat; the same on every Linux that Node runs on. */
const HERTZ = 100;

export interface Memory {
  /** Shared pages divided among those who share them (PSS). */
  readonly proportional: number;
  /** The same if no other process ran this program: its own file is then shared with nobody. */
  readonly alone: number;
  /** Pages that are no part of a file: heaps and stacks. */
  readonly anonymous: number;
}

/** @throws the system's error when the process is gone or another user's */
export function memoryOf(pid: number): Memory {
  const program = readlinkSync(`/proc/${pid}/exe`);
  const memory = { proportional: 0, alone: 0, anonymous: 0 };
  let isProgram = false;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const [, key, text] = /^(\w+): +(\d+) kB$/.exec(line) ?? [];
    const kib = Number(text);
    if (/^[0-9a-f]+-/.test(line)) isProgram = line.endsWith(` ${program}`);
    else if (key === 'Pss') {
      memory.proportional += kib;
      if (!isProgram) memory.alone += kib;
    } else if (key === 'Rss' && isProgram) memory.alone += kib;
    else if (key === 'Anonymous') memory.anonymous += kib;
  }
  return memory;
}

/** Bytes that programs could still have without swapping. */
export function availableBytes(): number {
  return Number(/^MemAvailable: +(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))![1]) * 1024;
}

/** Seconds of processor time, user and system, of all threads so far. Resolution: 10 ms. */
export function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / HERTZ;
}

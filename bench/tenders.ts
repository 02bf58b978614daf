import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Isolation } from '../broker/tenders/process/tender.ts';
import { TenderProcess } from '../broker/tenders/process/tender-process.ts';
import { silentLog } from '../shared/base/log.ts';

export const TENDER_SUITE = 'tender';
export const unikernels = fileURLToPath(new URL('../build/unikernel/', import.meta.url));
export const native = fileURLToPath(new URL('../build/bench/', import.meta.url));

/** What a part of the tender suite needs of the bench. */
export type Say = (text: string) => void;

export interface TenderChoice {
  /** Default: the task `echo`. */
  readonly imagePath?: string;
  /** Default: the tender that brokers use. */
  readonly binary?: string;
}

export function makeTender(isolation: Isolation, choice: TenderChoice = {}): TenderProcess {
  const { imagePath = join(unikernels, 'tasks/echo.elf'), binary } = choice;
  return new TenderProcess({ imagePath, log: silentLog(), isolation, binary });
}

/** Runs `use` with a tender that waits. */
export async function withTender<T>(tender: TenderProcess, use: (tender: TenderProcess) => Promise<T>): Promise<T> {
  try {
    await tender.start();
    return await use(tender);
  } finally {
    await tender.stop();
  }
}

/** A call that has to come back; its output and times. */
export async function callWell(tender: TenderProcess, input: Uint8Array) {
  const end = await tender.call(input, 10_000);
  if (end.outcome !== 'done' || end.status !== 0) throw new Error(`a call ended as ${end.outcome}`);
  return end;
}

/** The process and its children. */
export function familyOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return [pid, ...(children === '' ? [] : children.split(' ').map(Number))];
}

/** Pss of /proc/PID/smaps_rollup (man 5 proc), KiB. Reading another user's takes root. */
export function proportionalKib(pid: number): number {
  const found = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
  if (!found) throw new Error(`/proc/${pid}/smaps_rollup shows no Pss`);
  return Number(found[1]);
}

/** Microseconds that the main thread of a process has computed (the first number of /proc/PID/schedstat, in ns). */
export function computedUs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1000;
}

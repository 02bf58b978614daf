import type { Controller } from './hierarchies.ts';

/** Of a tender itself, whatever its task: its code, page tables, a virtual machine's bookkeeping. */
const OWN_BYTES = 16 * 1024 * 1024;
/** A tender and the guest of a call are two; the rest is for threads that a kernel counts as the tender's (KVM). */
const PROCESSES = 8;
/** A guest computes on one processor, and its tender a little beside it. More than that only one takes that was taken over. */
const PROCESSORS = 1.5;
const PERIOD_US = 100_000;
/** No task declares more (KERB_MAX_MEMORY, KERB_MAX_INPUT and KERB_MAX_OUTPUT of kerbside/abi.h). */
export const MAX_DECLARED_BYTES = 384 * 1024 * 1024;
/** One that holds no task yet receives nothing. */
export const BLANK_BYTES = 64 * 1024 * 1024;

/** A file of a group and what is written to it. */
export type Setting = readonly [file: string, value: string];

/**
 * The most that one tender takes, in bytes, rounded up generously: the limit is for one that was taken over, and must never
 * meet an honest one. The image is there as a file and as memory; memory, input and output as pattern and as a call's copy.
 * @param declared memory, largest input and largest output of its task together
 */
export function memoryLimit(declared: number, imageBytes: number): number {
  return OWN_BYTES + 2 * (declared + imageBytes);
}

export function memorySettings(version: 1 | 2, bytes: number): Setting[] {
  return [[version === 2 ? 'memory.max' : 'memory.limit_in_bytes', String(bytes)]];
}

/** Of the group of one tender. */
export function tenderSettings(version: 1 | 2, controller: Controller): Setting[] {
  switch (controller) {
    case 'memory':
      return memorySettings(version, BLANK_BYTES);
    case 'pids':
      return [['pids.max', String(PROCESSES)]];
    case 'cpu': {
      const quota = PROCESSORS * PERIOD_US;
      if (version === 2) return [['cpu.max', `${quota} ${PERIOD_US}`]];
      return [
        ['cpu.cfs_period_us', String(PERIOD_US)],
        ['cpu.cfs_quota_us', String(quota)],
      ];
    }
  }
}

/** Of the group of all tenders of a broker. Their share of the processors is that of as many processes as can run at once. */
export function allSettings(version: 1 | 2, controller: Controller, maxTenders: number, processors: number): Setting[] {
  switch (controller) {
    case 'memory':
      return [];
    case 'pids':
      return [['pids.max', String(maxTenders * PROCESSES)]];
    case 'cpu':
      return version === 2
        ? [['cpu.weight', String(Math.min(10_000, 100 * processors))]]
        : [['cpu.shares', String(Math.min(262_144, 1024 * processors))]];
  }
}

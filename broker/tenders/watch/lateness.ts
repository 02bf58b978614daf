/**
 * Tells a tender that hangs from one that is late because it got no processor on a busy machine: the one is ended at once,
 * the other is waited for, up to a limit. Pure; times in milliseconds.
 */

/** A tender and its guest, as the kernel counts. */
export interface ProcessorUse {
  /** CPU time of both so far. */
  readonly cpuMs: number;
  /** Neither runs, waits for a processor or for a disk, or is stopped: nothing keeps them from going on but themselves. */
  readonly asleep: boolean;
}

export interface LateLimits {
  /** So long after it should have been done it is looked at. */
  readonly afterMs: number;
  /** With so much CPU time since the first look it should have been done long ago. */
  readonly cpuMs: number;
  /** So long after it should have been done it is ended in any case. */
  readonly atMostMs: number;
}

export type Verdict = 'wait' | 'hangs' | 'starved';

/**
 * @param overdueMs since it should have been done
 * @param first at about the time when it should have been done; undefined where the kernel does not say
 * @param before the look before this one
 */
export function judge(
  limits: LateLimits,
  overdueMs: number,
  first: ProcessorUse | undefined,
  before: ProcessorUse | undefined,
  now: ProcessorUse | undefined,
): Verdict {
  if (overdueMs < limits.afterMs) return 'wait';
  if (first === undefined || before === undefined || now === undefined) return 'hangs';
  if (now.cpuMs - first.cpuMs >= limits.cpuMs) return 'hangs';
  // Asleep at one look may be one moment of many; twice and with nothing in between is for good.
  if (now.asleep && before.asleep && now.cpuMs === before.cpuMs) return 'hangs';
  return overdueMs >= limits.atMostMs ? 'starved' : 'wait';
}

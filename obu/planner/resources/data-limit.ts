/** Which workloads may not run because of what they keep in their /data. Pure. */
import { mebibytes } from './capacity.ts';

export interface DataLimits {
  /** Files and folders that one workload may keep. */
  readonly entries: number;
  /** Bytes of the disk that are kept for the OBU. */
  readonly keepFree: number;
}

export interface DataUse {
  readonly workload: string;
  readonly folder: string;
  readonly bytes: number;
  readonly entries: number;
  /** Bytes that it may keep. */
  readonly limit: number;
  /** Bytes that came since the look before. */
  readonly grown: number;
}

export interface HeldForData {
  readonly cause: 'its-limit' | 'full-disk';
  readonly why: string;
}

/** So much of what was kept free has to be free again, so that nothing is started into a disk that is as good as full. */
const FREE_AGAIN = 1.25;

/**
 * By workload, those that are to be stopped, or to stay so.
 * @param free bytes of the disk
 * @param before what this returned the last time
 */
export function heldForData(
  uses: readonly DataUse[],
  free: number,
  limits: DataLimits,
  before: ReadonlyMap<string, HeldForData>,
): ReadonlyMap<string, HeldForData> {
  const held = new Map<string, HeldForData>();
  const hold = (workload: string, cause: HeldForData['cause'], why: string) => held.set(workload, { cause, why });
  for (const { workload, folder, bytes, entries, limit } of uses) {
    const then = `it is started again when there is less in ${folder}`;
    if (bytes > limit) {
      hold(workload, 'its-limit', `its /data takes more than the ${mebibytes(limit)} that it may; ${then}`);
    } else if (entries > limits.entries) {
      hold(
        workload,
        'its-limit',
        `its /data has more than the ${limits.entries} files and folders that it may; ${then}`,
      );
    }
  }
  // Of those who fill it, one at a time: the next look shows whether that was enough.
  const filling = uses.filter(({ workload, grown }) => grown > 0 && !held.has(workload) && !before.has(workload));
  const most = filling.reduce((a, b) => (b.grown > a.grown ? b : a), filling[0]!);
  if (free < limits.keepFree && most !== undefined) {
    hold(
      most.workload,
      'full-disk',
      `the disk has ${mebibytes(free)} left, ${mebibytes(limits.keepFree)} are kept for the OBU, and its /data has grown ` +
        `most; it is started again when there is room, for instance when there is less in ${most.folder}`,
    );
  }
  if (free < limits.keepFree * FREE_AGAIN) {
    for (const [workload, one] of before) {
      const isWanted = uses.some((use) => use.workload === workload);
      if (one.cause === 'full-disk' && isWanted && !held.has(workload)) held.set(workload, one);
    }
  }
  return held;
}

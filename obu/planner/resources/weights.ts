/** Translates a priority, 0..1000, into weights of the kernel. */

export const MAX_PRIORITY = 1000;
/** The least CPU shares that there are. */
export const LEAST_CPU_SHARES = 2;

export interface Weights {
  /** As cgroup v1 counts: who has twice the shares gets twice the time. A container of somebody else has 1024. */
  readonly cpuShares: number;
  /** 10..1000, as the engine takes it. */
  readonly blkioWeight: number;
  /** 0..1000: who has most is killed first when the machine is out of memory. */
  readonly oomScoreAdj: number;
}

/** No two priorities have the same CPU shares; 125 more are twice as much: 192 to 49152, and 3072 for 500. */
export function weightsOf(priority: number, throttled = false): Weights {
  return {
    cpuShares: throttled ? LEAST_CPU_SHARES : Math.round(192 * 2 ** (priority / 125)),
    blkioWeight: throttled ? 10 : Math.round(10 + (990 * priority) / MAX_PRIORITY),
    oomScoreAdj: MAX_PRIORITY - priority,
  };
}

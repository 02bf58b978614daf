/** Resource usage of containers, as the engine reads it from their control groups. */

import type { ContainerUsage } from '../../shared/api/obu.ts';
import { wallOf } from '../../shared/base/clock.ts';
import { type Engine, withTimeout } from '../engine/docker-client.ts';
import type { ObservedContainer } from '../planner/state.ts';

/** A scrape or a look must not hang because the engine does. */
const TIMEOUT_MS = 3000;

/**
 * The parts of an answer of the engine's `/containers/ID/stats` that are read here; what a kernel lacks is not there.
 */
interface Stats {
  readonly cpu_stats?: {
    readonly cpu_usage?: {
      readonly total_usage?: number;
      readonly usage_in_usermode?: number;
      readonly usage_in_kernelmode?: number;
    };
    readonly throttling_data?: {
      readonly periods?: number;
      readonly throttled_periods?: number;
      readonly throttled_time?: number;
    };
  };
  readonly memory_stats?: { readonly usage?: number; readonly stats?: Readonly<Record<string, number>> };
  readonly pids_stats?: { readonly current?: number };
}

/**
 * The current usage of these containers. One call per container, of which each reads a few files: the engine is asked
 * for one sample, not for the two that it would wait a second between.
 * @param imageOf name of the image of a workload
 * @returns nothing for containers that do not run, have just gone, or of which the engine does not say in time
 */
export async function readUsage(
  engine: Engine,
  containers: readonly ObservedContainer[],
  imageOf: (workload: string) => string,
): Promise<readonly ContainerUsage[]> {
  const up = containers.filter(({ state }) => state === 'running' || state === 'paused');
  const answers = await Promise.allSettled(
    up.map(async (container) => {
      const options = { stream: false, 'one-shot': true } as const;
      const stats = (await withTimeout(engine.calls.getContainer(container.id).stats(options), TIMEOUT_MS)) as Stats;
      const forPeople = { ...container, startedAtMs: Math.round(wallOf(container.startedAtMs)) };
      return usageOf(forPeople, imageOf(container.workload), stats, Date.now());
    }),
  );
  return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
}

export function usageOf(container: ObservedContainer, image: string, stats: Stats, timeMs: number): ContainerUsage {
  const { cpu_usage: cpu = {}, throttling_data: throttling = {} } = stats.cpu_stats ?? {};
  const usage = stats.memory_stats?.usage ?? 0;
  const memory = stats.memory_stats?.stats ?? {};
  // Control groups of version 2 in front of version 1, as cAdvisor reads them.
  const inactive = memory.inactive_file ?? memory.total_inactive_file ?? 0;
  return {
    workload: container.workload,
    container: container.name,
    id: container.id,
    image,
    timeMs,
    startedAtMs: container.startedAtMs,
    cpu: {
      total: (cpu.total_usage ?? 0) / 1e9,
      user: (cpu.usage_in_usermode ?? 0) / 1e9,
      system: (cpu.usage_in_kernelmode ?? 0) / 1e9,
    },
    throttling: {
      periods: throttling.periods ?? 0,
      throttledPeriods: throttling.throttled_periods ?? 0,
      throttledSeconds: (throttling.throttled_time ?? 0) / 1e9,
    },
    memory: {
      usage,
      workingSet: Math.max(0, usage - inactive),
      rss: memory.anon ?? memory.total_rss ?? memory.rss ?? 0,
      cache: memory.file ?? memory.total_cache ?? memory.cache ?? 0,
      limit: container.memLimit ?? 0,
    },
    cpuLimit: container.cpus ?? 0,
    threads: stats.pids_stats?.current ?? 0,
  };
}

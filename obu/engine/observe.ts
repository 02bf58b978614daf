import type { ContainerInspectInfo } from 'dockerode';
import type { ContainerState, Observed, ObservedContainer } from '../planner/state.ts';
import { Label } from './container-spec.ts';
import { type Engine, engineStatus } from './docker-client.ts';
import { keptImages } from './kept-images.ts';
import { SteadyTimes } from './steady-times.ts';

/** By engine: what was seen of its stamps. */
const steadyTimes = new WeakMap<Engine, SteadyTimes>();

/**
 * What the engine has of ours, and which of these images it has.
 * @param stateHash see Places
 * @param images names or ids
 * @throws errors of dockerode when the engine does not answer
 */
export async function observe(
  engine: Engine,
  { owner, stateHash }: { readonly owner: string; readonly stateHash: string },
  images: Iterable<string>,
): Promise<Pick<Observed, 'containers' | 'images' | 'kept'>> {
  const [listed, kept] = await Promise.all([
    engine.calls.listContainers({ all: true, filters: { label: [`${Label.owner}=${owner}`] } }),
    keptImages(engine, stateHash),
  ]);
  const inspected = await Promise.all(listed.map(({ Id }) => orMissing(engine.calls.getContainer(Id).inspect())));
  const found = await Promise.all(
    [...new Set(images)].map(
      async (name) => [name, (await orMissing(engine.calls.getImage(name).inspect()))?.Id] as const,
    ),
  );
  const times = steadyTimes.get(engine) ?? new SteadyTimes();
  steadyTimes.set(engine, times);
  times.keep(new Set(listed.map(({ Id }) => Id)));
  return {
    containers: inspected.flatMap((info) => (info === undefined ? [] : [toObserved(info, times)])),
    images: new Map(found.flatMap(([name, id]) => (id === undefined ? [] : [[name, id]]))),
    kept,
  };
}

async function orMissing<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (engineStatus(error) === 404) return undefined;
    throw error;
  }
}

function toObserved(info: ContainerInspectInfo, times: SteadyTimes): ObservedContainer {
  const labels = info.Config.Labels;
  const workload = labels[Label.workload] ?? '';
  const { Memory, NanoCpus, CpuShares } = info.HostConfig;
  return {
    id: info.Id,
    name: info.Name.replace(/^\//, ''),
    owner: labels[Label.owner],
    workload,
    configHash: labels[Label.configHash] ?? '',
    gateway: labels[Label.gateway] ?? workload,
    imageId: info.Image,
    state: info.State.Status as ContainerState,
    health: healthOf(info.State.Health?.Status),
    memLimit: Label.undeclared in labels ? undefined : Memory || undefined,
    cpus: NanoCpus === undefined || NanoCpus === 0 ? undefined : NanoCpus / 1e9,
    cpuShares: CpuShares ?? 0,
    exitCode: info.State.ExitCode,
    oomKilled: info.State.OOMKilled,
    startedAtMs: times.of(`${info.Id} start`, info.State.StartedAt),
    finishedAtMs: times.of(`${info.Id} end`, info.State.FinishedAt),
  };
}

function healthOf(status: string | undefined): ObservedContainer['health'] {
  return status === 'starting' || status === 'healthy' || status === 'unhealthy' ? status : 'none';
}

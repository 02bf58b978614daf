import type { ContainerInspectInfo } from 'dockerode';
import { type Engine, engineStatus } from '../../engine/docker-client.ts';
import { findImage } from '../../images/find-image.ts';
import type { ContainerState, ObservedContainer } from '../../planner/state.ts';
import { Label } from '../container-spec.ts';
import type { SteadyTimes } from './steady-times.ts';

/** Ids of the containers of this owner. @throws errors of dockerode */
export async function listIds({ calls }: Engine, owner: string): Promise<string[]> {
  const listed = await calls.listContainers({ all: true, filters: { label: [`${Label.owner}=${owner}`] } });
  return listed.map(({ Id }) => Id);
}

/** @returns undefined when it is gone. @throws errors of dockerode */
export async function inspectContainer(
  { calls }: Engine,
  id: string,
  times: SteadyTimes,
): Promise<ObservedContainer | undefined> {
  const info = await orMissing(calls.getContainer(id).inspect());
  return info && toObserved(info, times);
}

/** @param name name or id; undefined when it is not there. @throws errors of dockerode */
export async function imageId(engine: Engine, name: string): Promise<string | undefined> {
  return (await findImage(engine, name))?.id;
}

export function hasEnded({ state }: ObservedContainer): boolean {
  return state === 'exited' || state === 'dead';
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
    startedAtMs: times.of(info.Id, 'start', info.State.StartedAt),
    finishedAtMs: times.of(info.Id, 'end', info.State.FinishedAt),
  };
}

function healthOf(status: string | undefined): ObservedContainer['health'] {
  return status === 'starting' || status === 'healthy' || status === 'unhealthy' ? status : 'none';
}

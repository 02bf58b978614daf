/** The containers of one workload: which to keep, and how the others go. */
import type { ObservedContainer, Step, Version } from './state.ts';

/** Why one of several goes. */
export const TWIN = 'another container of this workload is there';

/** Keys of the gateways of a workload's containers: the second one is for a hand-over. No workload has such a name. */
export function gatewayKeys(workload: string): readonly [string, string] {
  return [workload, `${workload}.B`];
}

/** A key of this workload that none of its containers has. */
export function freeGateway(workload: string, own: readonly ObservedContainer[]): string | undefined {
  const used = new Set(own.map((container) => container.gateway));
  return gatewayKeys(workload).find((key) => !used.has(key));
}

export function newestOf(containers: readonly ObservedContainer[]): ObservedContainer | undefined {
  return [...containers].sort((a, b) => b.startedAtMs - a.startedAtMs || (a.id < b.id ? -1 : 1))[0];
}

/** Of several containers of one version the one to keep: running before frozen before ended, then the newest. */
export function bestOf(containers: readonly ObservedContainer[]): ObservedContainer | undefined {
  return (
    newestOf(containers.filter((container) => container.state === 'running')) ??
    newestOf(containers.filter(isUp)) ??
    newestOf(containers)
  );
}

export function startedBefore(atMs: number): (container: ObservedContainer) => boolean {
  return ({ startedAtMs }) => startedAtMs > 0 && startedAtMs <= atMs;
}

export function isUp(container: ObservedContainer): boolean {
  return container.state === 'running' || container.state === 'paused';
}

export function whyOutdated(container: ObservedContainer | undefined, version: Version): string {
  return container?.configHash === version.configHash
    ? `image ${version.workload.image} is a new one`
    : 'its configuration has changed';
}

/** The next step on the way to this container being gone. */
export function clear(container: ObservedContainer, why: string): Step[] {
  switch (container.state) {
    case 'running':
    case 'paused':
    case 'restarting':
      return [{ step: 'stop', container, why }];
    case 'created':
    case 'exited':
    case 'dead':
      return [{ step: 'remove', container, why }];
    case 'removing':
      return [];
  }
}

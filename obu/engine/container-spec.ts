import { createHash } from 'node:crypto';
import type { ContainerCreateOptions, HealthConfig, HostConfig } from 'dockerode';
import type { HealthCheck, Workload } from '../manifest/workload.ts';

export const Label = {
  /** Which OBU, on which state folder. */
  owner: 'kerbside.owner',
  workload: 'kerbside.workload',
  configHash: 'kerbside.config',
} as const;

/** Raised when this file makes other containers of the same workload, so that running ones are replaced. */
const SPEC_VERSION = 2;

/** Where a container finds its gateway and its data. */
export const GATEWAY_MOUNT = '/run/kerbside';
export const DATA_MOUNT = '/data';

/** Options of /tmp, when the manifest gives none. */
const DEFAULT_TMP = 'size=64m,mode=1777';

/** Who a container runs as when its image does not say: nobody that the host knows. */
export const DEFAULT_USER = '10001:10001';

/**
 * Hash of everything that a container is made from, but its image. What only the planner or the gateway goes by is not
 * in it: another priority or fewer grants are no reason to restart a container.
 */
export function configHash(workload: Workload): string {
  const { grants, restart, dependsOn, priority, preemption, outsource, requires, update, ...container } = workload;
  // A CAN interface is a part of the container's network namespace.
  const interfaces = grants.can.filter(({ as }) => as === 'interface');
  return createHash('sha256')
    .update(JSON.stringify([SPEC_VERSION, container, interfaces]))
    .digest('hex')
    .slice(0, 16);
}

export interface ContainerPlaces {
  /** `owner` label. */
  readonly owner: string;
  readonly containerName: string;
  /** Folder of the gateway socket on the host. */
  readonly gateway: string;
  /** Folder for results on the host. */
  readonly data: string;
}

/**
 * The container of a workload. It gets what the manifest gives it and nothing else: no network, no capabilities, no new
 * privileges, a root file system that it can't write to, its gateway, and one folder of its own.
 * @param imageUser `User` of the image; empty when it names none.
 */
export function containerOptions(
  workload: Workload,
  imageUser: string,
  places: ContainerPlaces,
): ContainerCreateOptions {
  const { command, entrypoint, healthcheck, hostname, stopSignal, workingDir } = workload;
  return {
    name: places.containerName,
    Image: workload.image,
    ...(command && { Cmd: [...command] }),
    ...(entrypoint && { Entrypoint: [...entrypoint] }),
    ...(workingDir !== undefined && { WorkingDir: workingDir }),
    ...(hostname !== undefined && { Hostname: hostname }),
    ...(stopSignal !== undefined && { StopSignal: stopSignal }),
    StopTimeout: Math.ceil(workload.stopGraceMs / 1000),
    ...(healthcheck && { Healthcheck: healthcheckOptions(healthcheck) }),
    Env: [
      ...Object.entries(workload.environment).map(([name, value]) => `${name}=${value}`),
      `KERBSIDE_GATEWAY=${GATEWAY_MOUNT}/gateway.sock`,
    ],
    User: workload.user ?? (imageUser || DEFAULT_USER),
    Labels: {
      ...workload.labels,
      [Label.owner]: places.owner,
      [Label.workload]: workload.name,
      [Label.configHash]: configHash(workload),
    },
    HostConfig: hostOptions(workload, places),
  };
}

function hostOptions(workload: Workload, places: ContainerPlaces): HostConfig {
  const { memLimit, memReservation, cpus, cpuset, shmSize } = workload;
  return {
    // Restarting is the planner's: two who restart would fight.
    RestartPolicy: { Name: 'no' },
    NetworkMode: 'none',
    CapDrop: ['ALL'],
    SecurityOpt: ['no-new-privileges'],
    ReadonlyRootfs: true,
    Tmpfs: Object.fromEntries(
      Object.entries({ '/tmp': DEFAULT_TMP, ...workload.tmpfs }).map(([path, options]) => [
        path,
        `rw,noexec,nosuid,nodev,${options}`,
      ]),
    ),
    Init: workload.init,
    PidsLimit: workload.pidsLimit,
    Ulimits: Object.entries(workload.ulimits).map(([Name, { soft, hard }]) => ({ Name, Soft: soft, Hard: hard })),
    Mounts: [
      { Type: 'bind', Source: places.gateway, Target: GATEWAY_MOUNT, ReadOnly: true },
      { Type: 'bind', Source: places.data, Target: DATA_MOUNT, ReadOnly: false },
    ],
    LogConfig: { Type: 'json-file', Config: { 'max-size': '1m', 'max-file': '2' } },
    // The limit holds for swap as well: a board that swaps is a board that stalls.
    ...(memLimit !== undefined && { Memory: memLimit, MemorySwap: memLimit }),
    ...(memReservation !== undefined && { MemoryReservation: memReservation }),
    ...(cpus !== undefined && { NanoCpus: Math.round(cpus * 1e9) }),
    ...(cpuset !== undefined && { CpusetCpus: cpuset }),
    ...(shmSize !== undefined && { ShmSize: shmSize }),
  };
}

/** The engine counts in nanoseconds, takes 0 as "what the image says", and at least a millisecond. */
function healthcheckOptions({ test, intervalMs, timeoutMs, retries, startPeriodMs }: HealthCheck): HealthConfig {
  if (test[0] === 'NONE') return { Test: [...test] };
  const ns = (ms: number) => Math.round(ms * 1e6);
  return {
    Test: [...test],
    Interval: ns(intervalMs),
    Timeout: ns(timeoutMs),
    Retries: retries,
    StartPeriod: ns(Math.max(1, startPeriodMs)),
  };
}

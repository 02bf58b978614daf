import { createHash } from 'node:crypto';
import type { ContainerCreateOptions } from 'dockerode';
import type { HealthCheck, Workload } from '../manifest/workload.ts';
import { containerPart } from '../planner/version.ts';
import { weightsOf } from '../planner/weights.ts';

export const Label = {
  /** Which OBU, on which state folder. */
  owner: 'kerbside.owner',
  workload: 'kerbside.workload',
  configHash: 'kerbside.config',
  /** Key of its gateway, see `gatewayKeys`. */
  gateway: 'kerbside.gateway',
} as const;

/** Raised when this file makes other containers of the same workload, so that running ones are replaced. */
const SPEC_VERSION = 2;

/** Where a container finds its gateway and its data. */
export const GATEWAY_MOUNT = '/run/kerbside';
export const DATA_MOUNT = '/data';

/** Who a container runs as when its image does not say: nobody that the host knows. */
export const DEFAULT_USER = '10001:10001';

/** Hash of everything that a container is made from, but its image. How the workload is treated is not in it. */
export function configHash(workload: Workload): string {
  return createHash('sha256')
    .update(JSON.stringify([SPEC_VERSION, containerPart(workload)]))
    .digest('hex')
    .slice(0, 16);
}

export interface ContainerPlaces {
  /** `owner` label. */
  readonly owner: string;
  readonly gatewayKey: string;
  readonly containerName: string;
  /** Folder of the gateway socket on the host. */
  readonly gateway: string;
  /** Folder for results on the host. */
  readonly data: string;
}

/** As the engine takes it: nanoseconds. */
function healthcheckOf({ test, intervalMs, timeoutMs, retries, startPeriodMs }: HealthCheck) {
  const ns = (ms: number) => Math.round(ms * 1e6);
  return {
    Test: [...test],
    Interval: ns(intervalMs),
    Timeout: ns(timeoutMs),
    Retries: retries,
    StartPeriod: ns(startPeriodMs),
  };
}

/**
 * The container of a workload. It gets what the manifest gives it and nothing else: no network, no capabilities, no new
 * privileges, a root file system that it can't write to, its gateway, and one folder of its own.
 * @param image Its id, so that no other one is started that has got the name meanwhile, and its `User`, which may be empty.
 */
export function containerOptions(
  workload: Workload,
  image: { readonly id: string; readonly user: string },
  places: ContainerPlaces,
): ContainerCreateOptions {
  const { memLimit, cpus, healthcheck } = workload;
  const weights = weightsOf(workload.priority);
  return {
    name: places.containerName,
    Image: image.id,
    ...(workload.command && { Cmd: [...workload.command] }),
    ...(workload.entrypoint && { Entrypoint: [...workload.entrypoint] }),
    Env: [
      ...Object.entries(workload.environment).map(([name, value]) => `${name}=${value}`),
      `KERBSIDE_GATEWAY=${GATEWAY_MOUNT}/gateway.sock`,
    ],
    User: image.user || DEFAULT_USER,
    StopSignal: workload.stopSignal,
    // In whole seconds, and never a shorter time than the manifest gives.
    StopTimeout: Math.ceil(workload.stopGraceMs / 1000),
    ...(healthcheck && { Healthcheck: healthcheckOf(healthcheck) }),
    Labels: {
      [Label.owner]: places.owner,
      [Label.workload]: workload.name,
      [Label.configHash]: configHash(workload),
      [Label.gateway]: places.gatewayKey,
    },
    HostConfig: {
      // Restarting is the planner's: two who restart would fight.
      RestartPolicy: { Name: 'no' },
      NetworkMode: 'none',
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      ReadonlyRootfs: true,
      Tmpfs: { '/tmp': 'rw,noexec,nosuid,nodev,size=64m,mode=1777' },
      PidsLimit: 256,
      Mounts: [
        { Type: 'bind', Source: places.gateway, Target: GATEWAY_MOUNT, ReadOnly: true },
        { Type: 'bind', Source: places.data, Target: DATA_MOUNT, ReadOnly: false },
      ],
      LogConfig: { Type: 'json-file', Config: { 'max-size': '1m', 'max-file': '2' } },
      // The limit holds for swap as well: a board that swaps is a board that stalls.
      ...(memLimit !== undefined && { Memory: memLimit, MemorySwap: memLimit }),
      ...(cpus !== undefined && { NanoCpus: Math.round(cpus * 1e9) }),
      CpuShares: weights.cpuShares,
      BlkioWeight: weights.blkioWeight,
      OomScoreAdj: weights.oomScoreAdj,
    },
  };
}

import { createHash } from 'node:crypto';
import type { ContainerCreateOptions, HealthConfig, HostConfig } from 'dockerode';
import { kuksaEnvironment } from '../gateway/kuksa/endpoint.ts';
import type { HealthCheck, Workload } from '../manifest/workload.ts';
import { weightsOf } from '../planner/resources/weights.ts';
import type { Desired } from '../planner/state.ts';
import { containerPart } from '../planner/version.ts';

export const Label = {
  /** Which OBU, on which state folder. */
  owner: 'kerbside.owner',
  workload: 'kerbside.workload',
  configHash: 'kerbside.config',
  /** Key of its gateway, see `gatewayKeys`. */
  gateway: 'kerbside.gateway',
  /** There when its limit of memory is what others left, and not declared. */
  undeclared: 'kerbside.undeclared',
} as const;

/** Raised when this file makes other containers of the same workload, so that running ones are replaced. */
const SPEC_VERSION = 4;

/** Where a container finds its gateway and its data. */
export const GATEWAY_MOUNT = '/run/kerbside';
export const DATA_MOUNT = '/data';

/** Options of /tmp, when the manifest gives none. */
const DEFAULT_TMP = 'size=64m,mode=1777';

/** Who a container runs as when its image does not say: nobody that the host knows. */
export const DEFAULT_USER = '10001:10001';

/** Hash of everything that a container is made from, but its image. How the workload is treated is not in it. */
export function configHash(workload: Workload): string {
  return createHash('sha256')
    .update(JSON.stringify([SPEC_VERSION, containerPart(workload)]))
    .digest('hex')
    .slice(0, 16);
}

/** A workload as it is planned with. Made where a manifest is read; who needs the hash later takes it from here. */
export function desiredOf(workload: Workload): Desired {
  return { workload, configHash: configHash(workload) };
}

export interface ContainerContext {
  /** `owner` label. */
  readonly owner: string;
  readonly gatewayKey: string;
  readonly containerName: string;
  /** Folder of the gateway socket on the host. */
  readonly gateway: string;
  /** Folder for results on the host. */
  readonly data: string;
  /** Control group that it is made in. */
  readonly group: string;
  /** Bytes that it may use when it declares no limit. */
  readonly memoryLeft: number;
  /** Whether the kernel can weigh who gets the disk. */
  readonly diskWeights: boolean;
}

/**
 * The container of a workload. It gets what the manifest gives it and nothing else: no network, no capabilities, no new
 * privileges, a root file system that it can't write to, its gateway, and one folder of its own.
 * @param image Its id, so that no other one is started that has got the name meanwhile, and its `User`, which may be empty.
 */
export function containerOptions(
  { workload, configHash }: Desired,
  image: { readonly id: string; readonly user: string },
  context: ContainerContext,
): ContainerCreateOptions {
  const { command, entrypoint, healthcheck, hostname, stopSignal, workingDir } = workload;
  return {
    name: context.containerName,
    Image: image.id,
    ...(command && { Cmd: [...command] }),
    ...(entrypoint && { Entrypoint: [...entrypoint] }),
    ...(workingDir !== undefined && { WorkingDir: workingDir }),
    ...(hostname !== undefined && { Hostname: hostname }),
    ...(stopSignal !== undefined && { StopSignal: stopSignal }),
    // In whole seconds, and never a shorter time than the manifest gives.
    StopTimeout: Math.ceil(workload.stopGraceMs / 1000),
    ...(healthcheck && { Healthcheck: healthcheckOptions(healthcheck) }),
    Env: [
      ...Object.entries(workload.environment).map(([name, value]) => `${name}=${value}`),
      `KERBSIDE_GATEWAY=${GATEWAY_MOUNT}/gateway.sock`,
      ...kuksaEnvironment(GATEWAY_MOUNT),
    ],
    User: workload.user ?? (image.user || DEFAULT_USER),
    Labels: {
      ...workload.labels,
      [Label.owner]: context.owner,
      [Label.workload]: workload.name,
      [Label.configHash]: configHash,
      [Label.gateway]: context.gatewayKey,
      ...(workload.memLimit === undefined && { [Label.undeclared]: 'memory' }),
    },
    HostConfig: hostOptions(workload, context),
  };
}

function hostOptions(workload: Workload, context: ContainerContext): HostConfig {
  const { memReservation, cpus, cpuset, shmSize } = workload;
  const memory = workload.memLimit ?? context.memoryLeft;
  const weights = weightsOf(workload.priority);
  return {
    // Restarting is the planner's: two who restart would fight.
    RestartPolicy: { Name: 'no' },
    NetworkMode: 'none',
    CgroupParent: context.group,
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
      { Type: 'bind', Source: context.gateway, Target: GATEWAY_MOUNT, ReadOnly: true },
      { Type: 'bind', Source: context.data, Target: DATA_MOUNT, ReadOnly: false },
    ],
    LogConfig: { Type: 'json-file', Config: { 'max-size': '1m', 'max-file': '2' } },
    // The limit holds for swap as well: a board that swaps is a board that stalls.
    Memory: memory,
    MemorySwap: memory,
    ...(memReservation !== undefined && { MemoryReservation: memReservation }),
    ...(cpus !== undefined && { NanoCpus: Math.round(cpus * 1e9) }),
    ...(cpuset !== undefined && { CpusetCpus: cpuset }),
    ...(shmSize !== undefined && { ShmSize: shmSize }),
    CpuShares: weights.cpuShares,
    ...(context.diskWeights && { BlkioWeight: weights.blkioWeight }),
    OomScoreAdj: weights.oomScoreAdj,
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

import { createHash } from 'node:crypto';
import type { ContainerCreateOptions } from 'dockerode';
import { kuksaEnvironment } from '../gateway/kuksa/endpoint.ts';
import type { Workload } from '../manifest/workload.ts';

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

/** Who a container runs as when its image does not say: nobody that the host knows. */
export const DEFAULT_USER = '10001:10001';

/** Hash of everything that a container is made from, but its image. */
export function configHash(workload: Workload): string {
  return createHash('sha256')
    .update(JSON.stringify([SPEC_VERSION, workload]))
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
  const { memLimit, cpus } = workload;
  return {
    name: places.containerName,
    Image: workload.image,
    ...(workload.command && { Cmd: [...workload.command] }),
    ...(workload.entrypoint && { Entrypoint: [...workload.entrypoint] }),
    Env: [
      ...Object.entries(workload.environment).map(([name, value]) => `${name}=${value}`),
      `KERBSIDE_GATEWAY=${GATEWAY_MOUNT}/gateway.sock`,
      ...kuksaEnvironment(GATEWAY_MOUNT),
    ],
    User: imageUser || DEFAULT_USER,
    Labels: {
      [Label.owner]: places.owner,
      [Label.workload]: workload.name,
      [Label.configHash]: configHash(workload),
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
    },
  };
}

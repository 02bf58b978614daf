import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, isErrno, isKerbError, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { ContainerInterfaces } from '../can-interface/container-interface.ts';
import { type Engine, engineMessage, engineStatus } from '../engine/docker-client.ts';
import type { Gateways } from '../gateway/gateways.ts';
import { mustRunHere } from '../images/architecture.ts';
import type { Workload } from '../manifest/workload.ts';
import { weightsOf } from '../planner/resources/weights.ts';
import { type Action, type ActionKind, isClearing, type Observed, type Version } from '../planner/state.ts';
import { makeDataFolder } from '../resources/data-folder.ts';
import { containerOptions } from './container-spec.ts';
import { keepImage, releaseImage } from './kept-images.ts';

/** Seconds that the engine gives a container which names no grace of its own. */
const DEFAULT_GRACE_S = 10;
/** A container that the engine could not stop, freeze or remove is left alone for this long before it is tried again. */
const STUCK_MS = 30_000;
/** How much longer than the grace the engine may take to stop a container. */
const STOP_MARGIN_S = 30;

type Executors = { readonly [K in ActionKind]: (step: Extract<Action, { step: K }>) => Promise<void> };

export interface ExecutorParts {
  readonly engine: Engine;
  readonly gateways: Gateways;
  readonly interfaces: ContainerInterfaces;
  readonly owner: string;
  /** See Places. */
  readonly stateHash: string;
  /** In front of the key of the gateway. */
  readonly namePrefix: string;
  /** Folder that holds a folder per workload. */
  readonly data: string;
  /** Control group that containers are made in. */
  readonly group: string;
  /** Bytes that a workload may use which declares no limit. */
  readonly memoryLeft: (workload: Workload) => number;
  readonly log: Logger;
}

/** Carries steps out; each one can be done again when it was cut off. */
export class StepRunner {
  readonly #parts: ExecutorParts;
  /** Container by key, for the gateways that are served. */
  readonly #served = new Map<string, string>();
  /** CPU shares that a container was given, by id: an engine that can't do it is not asked again and again. */
  readonly #weights = new Map<string, number>();
  #diskWeights = true;
  readonly #abort = new AbortController();
  /** Workloads whose kept image could not be let go. */
  readonly #unreleased = new Set<string>();
  /** Until when a container counts as stuck, by id. */
  readonly #stuck = new Map<string, number>();
  readonly #said = new Set<string>();
  readonly #executors: Executors = {
    'create-and-start': ({ version, gateway }) => this.#createAndStart(version, gateway),
    adopt: async ({ desired, container }) => {
      if (!(await this.#adoptInterfaces(desired.workload, container.id))) return;
      await this.#parts.gateways.open(container.gateway, desired.workload, { isAdopted: true });
      this.#served.set(container.gateway, container.id);
    },
    stop: ({ container }) => this.stopContainer(container.id, this.#abort.signal),
    remove: async ({ container }) => {
      await this.removeContainer(container.id);
      this.#weights.delete(container.id);
      await this.#parts.interfaces.detach(container.id);
      this.#stuck.delete(container.id);
      // Another container may already have a gateway with its key.
      const serving = this.#served.get(container.gateway);
      if (serving !== undefined && serving !== container.id) return;
      this.#served.delete(container.gateway);
      await this.#parts.gateways.close(container.gateway);
    },
    freeze: async ({ container }) => {
      await this.#unlessDone(this.#container(container.id).pause());
      this.#parts.gateways.setFrozen(container.gateway, true);
    },
    thaw: async ({ container }) => {
      await this.#unlessDone(this.#container(container.id).unpause());
      this.#parts.gateways.setFrozen(container.gateway, false);
    },
    weigh: ({ container, priority, throttled }) => {
      this.#parts.gateways.setPriority(container.gateway, priority);
      return this.#weigh(container.id, priority, throttled);
    },
    'keep-image': ({ workload, imageId }) => keepImage(this.#parts.engine, this.#parts.stateHash, workload, imageId),
    'release-image': async ({ workload }) => {
      this.#unreleased.add(workload);
      await releaseImage(this.#parts.engine, this.#parts.stateHash, workload);
      this.#unreleased.delete(workload);
    },
  };

  constructor(parts: ExecutorParts) {
    this.#parts = parts;
  }

  /** What the engine shows, with what only we know: whose gateway is served, and what was tried in vain. */
  see(seen: Pick<Observed, 'containers' | 'images' | 'kept'>): Observed {
    return {
      images: seen.images,
      kept: new Map([...seen.kept].filter(([workload]) => !this.#unreleased.has(workload))),
      containers: seen.containers.map((one) => ({
        ...one,
        // It holds what it holds, and nothing can be done about it now: others are planned around it.
        state: (this.#stuck.get(one.id) ?? 0) > performance.now() ? 'removing' : one.state,
        cpuShares: this.#weights.get(one.id) ?? one.cpuShares,
      })),
      gateways: new Set(this.#served.values()),
    };
  }

  /** Waits no longer for containers that are asked to end; the engine goes on with it. */
  stopWaiting(): void {
    this.#abort.abort();
  }

  /** The container that a step was about, once it is done; undefined: none. */
  containerOf(step: Action): string | undefined {
    if (step.step === 'create-and-start') return this.#served.get(step.gateway);
    return 'container' in step ? step.container.id : undefined;
  }

  /**
   * @returns false when the engine answers that it cannot take something away: that is no reason to stop for the others
   * @throws KerbError ContainerFailed when a container can't be made or started, errors of the engine otherwise
   */
  async run<K extends ActionKind>(step: Extract<Action, { step: K }>): Promise<boolean> {
    try {
      await this.#executors[step.step as K](step);
      return true;
    } catch (error) {
      if (!isClearing(step) || !('container' in step) || engineStatus(error) === undefined) throw error;
      const { id, workload } = step.container;
      this.#stuck.set(id, performance.now() + STUCK_MS);
      this.#parts.log.error(
        { workload, step: step.step, err: engineMessage(error), waitMs: STUCK_MS },
        'the Docker Engine cannot remove a container',
      );
      return false;
    }
  }

  /**
   * Asks a container to end as its manifest says, and kills it when its grace is over.
   * @param signal Waits no longer when it fires.
   */
  async stopContainer(id: string, signal?: AbortSignal): Promise<void> {
    const { engine } = this.#parts;
    await this.#unlessDone(
      (async () => {
        const { Config } = await this.#container(id).inspect();
        const graceS = (Config as { StopTimeout?: number }).StopTimeout ?? DEFAULT_GRACE_S;
        // The engine answers when it is done, so this call may be silent for longer than others.
        const timeout = AbortSignal.timeout((graceS + STOP_MARGIN_S) * 1000);
        const abortSignal = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
        await engine.streams.getContainer(id).stop({ t: graceS, abortSignal });
      })(),
    );
  }

  async removeContainer(id: string): Promise<void> {
    await this.#unlessDone(this.#container(id).remove({ force: true, v: true }));
  }

  #container(id: string) {
    return this.#parts.engine.calls.getContainer(id);
  }

  /** 304: it is so already; 404: it is gone; 409: it is in another state by now, or going. The next look shows it. */
  async #unlessDone(call: Promise<unknown>): Promise<void> {
    try {
      await call;
    } catch (error) {
      const status = engineStatus(error);
      if (status !== 304 && status !== 404 && status !== 409) throw error;
    }
  }

  async #createAndStart(version: Version, gateway: string): Promise<void> {
    const { engine, gateways, interfaces, owner, namePrefix, data, group, memoryLeft } = this.#parts;
    const { workload, imageId } = version;
    const dataFolder = join(data, workload.name);
    await makeDataFolder(workload.name, dataFolder);
    await gateways.open(gateway, workload);
    const diskWeights = this.#diskWeights;
    let id: string | undefined;
    try {
      const image = await engine.calls.getImage(imageId).inspect();
      await mustRunHere(engine, workload.image, image.Architecture);
      const options = containerOptions(
        version,
        { id: imageId, user: image.Config.User },
        {
          owner,
          gatewayKey: gateway,
          containerName: `${namePrefix}${gateway}`,
          gateway: gateways.folder(gateway),
          data: dataFolder,
          group,
          memoryLeft: memoryLeft(workload),
          diskWeights,
        },
      );
      const container = await engine.calls.createContainer(options);
      id = container.id;
      const { Warnings } = container as unknown as { Warnings?: readonly string[] | null };
      for (const warning of Warnings ?? []) this.#sayOnce(`the Docker Engine says: ${warning}`);
      await interfaces.prepare(workload, id);
      await container.start();
      await interfaces.attach(id);
    } catch (error) {
      if (id !== undefined) await this.#takeBack(id, error);
      await gateways.close(gateway);
      if (diskWeights && this.#isAboutDiskWeights(error)) return await this.#createAndStart(version, gateway);
      if (isKerbError(error, ErrorCode.CanInterfaceUnavailable) || isKerbError(error, ErrorCode.NoInterfaceGrant)) {
        throw new KerbError(ErrorCode.ContainerFailed, error.message, { workload: workload.name }, { cause: error });
      }
      // Without a status it is the connection to the engine that failed, not the container.
      if (engineStatus(error) === undefined) throw error;
      throw new KerbError(ErrorCode.ContainerFailed, engineMessage(error), { workload: workload.name });
    }
    this.#served.set(gateway, id);
  }

  /** What a start has made that failed; an engine that has gone has it until the next look. */
  async #takeBack(id: string, why: unknown): Promise<void> {
    const isGone = engineStatus(why) === undefined && !isKerbError(why);
    await this.removeContainer(id).catch((error: unknown) => {
      if (!isGone) throw error;
    });
    await this.#parts.interfaces.detach(id);
  }

  /**
   * Whether this error says that the kernel has no weights for disks; they are left out from then on. No engine tells it
   * before: with cgroup v2 it writes `io.weight`, which only kernels with CONFIG_BLK_CGROUP_IOCOST or bfq have, and gives up.
   */
  #isAboutDiskWeights(error: unknown): boolean {
    if (engineStatus(error) === undefined) return false;
    if (!/\b(io|blkio)(\.\w+)?\.weight\b/.test(engineMessage(error))) return false;
    this.#diskWeights = false;
    this.#sayOnce('this kernel has no weights for disks; priorities count for CPU and memory only');
    return true;
  }

  async #weigh(id: string, priority: number, throttled: boolean): Promise<void> {
    const { cpuShares, blkioWeight, oomScoreAdj } = weightsOf(priority, throttled);
    // Before it is tried: what the engine refuses, or does in another way, is not done again and again.
    this.#weights.set(id, cpuShares);
    const diskWeights = this.#diskWeights;
    try {
      const disk = diskWeights ? { BlkioWeight: blkioWeight } : {};
      await this.#container(id).update({ CpuShares: cpuShares, ...disk });
    } catch (error) {
      if (engineStatus(error) === undefined) throw error;
      if (diskWeights && this.#isAboutDiskWeights(error)) return await this.#weigh(id, priority, throttled);
      this.#sayOnce(`the Docker Engine does not change weights: ${engineMessage(error)}`);
    }
    if (this.#parts.engine.host.startsWith('unix://')) await this.#adjustOomScore(id, oomScoreAdj);
  }

  /** The engine sets it for new containers only; children get it from their parents. */
  async #adjustOomScore(id: string, score: number): Promise<void> {
    try {
      const { Titles, Processes } = (await this.#container(id).top({ ps_args: '-o pid' })) as {
        Titles: string[];
        Processes: string[][];
      };
      const column = Titles.indexOf('PID');
      for (const process of Processes) await writeFile(`/proc/${process[column]}/oom_score_adj`, `${score}\n`);
    } catch (error) {
      // A process that has ended has no score.
      if (isErrno(error, 'ENOENT') || isErrno(error, 'ESRCH') || engineStatus(error) === 409) return;
      this.#sayOnce(`the OOM score of a running container cannot be changed: ${engineMessage(error)}`);
    }
  }

  #sayOnce(message: string): void {
    if (this.#said.has(message)) return;
    this.#said.add(message);
    this.#parts.log.warn({ reason: message }, 'priorities are only partly applied');
  }

  /** False when the container cannot have its interfaces back: it is removed, and its successor's start says why. */
  async #adoptInterfaces(workload: Workload, id: string): Promise<boolean> {
    try {
      await this.#parts.interfaces.adopt(workload, id);
      return true;
    } catch (error) {
      if (!isKerbError(error)) throw error;
      await this.removeContainer(id);
      return false;
    }
  }
}

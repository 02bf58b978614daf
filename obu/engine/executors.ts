import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, KerbError } from '../../shared/errors.ts';
import type { Gateways } from '../gateway/gateways.ts';
import type { Workload } from '../manifest/workload.ts';
import type { Action, ActionKind } from '../planner/state.ts';
import { containerOptions } from './container-spec.ts';
import { type Engine, engineMessage, engineStatus } from './docker-client.ts';

/** Seconds between SIGTERM and SIGKILL. */
export const STOP_GRACE_S = 5;

type Executors = { readonly [K in ActionKind]: (step: Extract<Action, { step: K }>) => Promise<void> };

export interface ExecutorParts {
  readonly engine: Engine;
  readonly gateways: Gateways;
  readonly owner: string;
  /** In front of the name of the workload. */
  readonly namePrefix: string;
  /** Folder that holds a folder per workload. */
  readonly data: string;
}

/** Carries steps out. One step at a time; each one can be done again when it was cut off. */
export class StepRunner {
  readonly #parts: ExecutorParts;
  /** Container by workload, for the gateways that are served. */
  readonly #served = new Map<string, string>();
  readonly #executors: Executors = {
    'create-and-start': ({ desired }) => this.#createAndStart(desired.workload),
    adopt: async ({ desired, container }) => {
      await this.#parts.gateways.open(desired.workload, { isAdopted: true });
      this.#served.set(desired.workload.name, container.id);
    },
    stop: ({ container }) => this.stopContainer(container.id, STOP_GRACE_S),
    remove: async ({ container }) => {
      await this.removeContainer(container.id);
      // Another container of the same workload may already have its own gateway.
      const serving = this.#served.get(container.workload);
      if (serving !== undefined && serving !== container.id) return;
      this.#served.delete(container.workload);
      await this.#parts.gateways.close(container.workload);
    },
  };

  constructor(parts: ExecutorParts) {
    this.#parts = parts;
  }

  /** Ids of the containers whose gateway is served. */
  get served(): ReadonlySet<string> {
    return new Set(this.#served.values());
  }

  /** @throws KerbError ContainerFailed when a container can't be made or started, errors of the engine otherwise */
  run<K extends ActionKind>(step: Extract<Action, { step: K }>): Promise<void> {
    return this.#executors[step.step as K](step);
  }

  async stopContainer(id: string, graceSeconds: number): Promise<void> {
    try {
      await this.#parts.engine.calls.getContainer(id).stop({ t: graceSeconds });
    } catch (error) {
      // 304: it is stopped already; 404: it is gone.
      const status = engineStatus(error);
      if (status !== 304 && status !== 404) throw error;
    }
  }

  async removeContainer(id: string): Promise<void> {
    try {
      await this.#parts.engine.calls.getContainer(id).remove({ force: true, v: true });
    } catch (error) {
      // 404: it is gone; 409: it is going.
      const status = engineStatus(error);
      if (status !== 404 && status !== 409) throw error;
    }
  }

  async #createAndStart(workload: Workload): Promise<void> {
    const { engine, gateways, owner, namePrefix, data } = this.#parts;
    const dataFolder = join(data, workload.name);
    // The folder above is closed to everybody else on this machine; in the container any user may write here.
    await mkdir(dataFolder, { recursive: true });
    await chmod(dataFolder, 0o777);
    await gateways.open(workload);
    let id: string | undefined;
    try {
      const image = await engine.calls.getImage(workload.image).inspect();
      const options = containerOptions(workload, image.Config.User, {
        owner,
        containerName: `${namePrefix}${workload.name}`,
        gateway: gateways.folder(workload.name),
        data: dataFolder,
      });
      const container = await engine.calls.createContainer(options);
      id = container.id;
      await container.start();
    } catch (error) {
      if (id !== undefined) await this.removeContainer(id);
      await gateways.close(workload.name);
      // Without a status it is the connection to the engine that failed, not the container.
      if (engineStatus(error) === undefined) throw error;
      throw new KerbError(ErrorCode.ContainerFailed, engineMessage(error), { workload: workload.name });
    }
    this.#served.set(workload.name, id);
  }
}

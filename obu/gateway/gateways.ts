import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Grants, Workload } from '../manifest/workload.ts';
import { Gateway, type GatewayOptions, type GatewayParts } from './gateway.ts';

const NO_GRANTS: Grants = { signals: [], can: [], cameras: [], offload: undefined };

export const GATEWAY_SOCKET = 'gateway.sock';

/**
 * What a container that was made from a workload is held to now that the manifest has these; undefined: to what it was,
 * because its update waits for the vehicle to be parked.
 */
export function effectiveGrants(
  workloads: readonly Workload[],
  hashOf: (workload: Workload) => string,
): (running: Workload) => Workload | undefined {
  const wanted = new Map(workloads.map((workload) => [workload.name, workload]));
  return (running) => {
    const workload = wanted.get(running.name);
    if (workload === undefined) return { ...running, grants: NO_GRANTS };
    return workload.update.when === 'now' || hashOf(workload) === hashOf(running) ? workload : undefined;
  };
}

/** The gateways of all containers of this OBU, each by a key: a workload may have two while it hands over. */
export class Gateways {
  readonly #root: string;
  readonly #parts: GatewayParts;
  readonly #open = new Map<string, Gateway>();

  /** @param root Folder that only the OBU's own user can enter; each gateway gets a folder in it. */
  constructor(root: string, parts: GatewayParts) {
    this.#root = root;
    this.#parts = parts;
  }

  /** Folder to mount into the container whose gateway has this key. */
  folder(key: string): string {
    return join(this.#root, key);
  }

  /**
   * Serves a new gateway, in place of one that may have this key. The folder is kept when it is there, because
   * a container that outlived an OBU has it mounted.
   * @throws KerbError GatewayUnavailable
   */
  async open(key: string, workload: Workload, options?: GatewayOptions): Promise<void> {
    await this.#stop(key);
    const folder = this.folder(key);
    // 0755: the container's user is another one; the folder above is closed to everybody outside.
    await mkdir(folder, { recursive: true, mode: 0o755 });
    const gateway = new Gateway(workload, join(folder, GATEWAY_SOCKET), this.#parts, options);
    this.#open.set(key, gateway);
    await gateway.start();
  }

  /**
   * The manifest has changed, and every gateway goes by it at once; but those of containers whose update waits for the
   * vehicle to be parked stay as they are until then.
   * @param hashOf Hash of everything that a container is made from.
   */
  follow(workloads: readonly Workload[], hashOf: (workload: Workload) => string): void {
    const held = effectiveGrants(workloads, hashOf);
    for (const gateway of this.#open.values()) {
      const workload = held(gateway.workload);
      if (workload !== undefined) gateway.regrant(workload);
    }
  }

  /** Of offloads that are handed in from now on. */
  setPriority(key: string, priority: number): void {
    const gateway = this.#open.get(key);
    if (gateway !== undefined) gateway.priority = priority;
  }

  /** Whether the container of this gateway is frozen. */
  setFrozen(key: string, frozen: boolean): void {
    const gateway = this.#open.get(key);
    if (gateway !== undefined) gateway.frozen = frozen;
  }

  /** Ends the gateway and removes its folder. */
  async close(key: string): Promise<void> {
    await this.#stop(key);
    await rm(this.folder(key), { recursive: true, force: true });
  }

  /** Ends all gateways; their folders stay for the containers that have them mounted. */
  async stop(): Promise<void> {
    for (const key of [...this.#open.keys()]) await this.#stop(key);
  }

  async #stop(key: string): Promise<void> {
    const gateway = this.#open.get(key);
    this.#open.delete(key);
    await gateway?.stop();
  }
}

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Workload } from '../manifest/workload.ts';
import { Gateway, type GatewayOptions, type GatewayParts } from './gateway.ts';

export const GATEWAY_SOCKET = 'gateway.sock';

/** The gateways of all containers of this OBU, by workload. */
export class Gateways {
  readonly #root: string;
  readonly #parts: GatewayParts;
  readonly #open = new Map<string, Gateway>();

  /** @param root Folder that only the OBU's own user can enter; each gateway gets a folder in it. */
  constructor(root: string, parts: GatewayParts) {
    this.#root = root;
    this.#parts = parts;
  }

  /** Folder to mount into the container of this workload; the same for each of its containers. */
  folder(workload: string): string {
    return join(this.#root, workload);
  }

  /**
   * Serves a new gateway for a workload, in place of one that it may have. The folder is kept when it is there, because
   * a container that outlived an OBU has it mounted.
   * @throws KerbError GatewayUnavailable
   */
  async open(workload: Workload, options?: GatewayOptions): Promise<void> {
    await this.#stop(workload.name);
    const folder = this.folder(workload.name);
    // 0755: the container's user is another one; the folder above is closed to everybody outside.
    await mkdir(folder, { recursive: true, mode: 0o755 });
    const gateway = new Gateway(workload, join(folder, GATEWAY_SOCKET), this.#parts, options);
    this.#open.set(workload.name, gateway);
    await gateway.start();
  }

  /** Ends the gateway and removes its folder. */
  async close(workload: string): Promise<void> {
    await this.#stop(workload);
    await rm(this.folder(workload), { recursive: true, force: true });
  }

  async closeAll(): Promise<void> {
    for (const name of [...this.#open.keys()]) await this.close(name);
  }

  async #stop(workload: string): Promise<void> {
    const gateway = this.#open.get(workload);
    this.#open.delete(workload);
    await gateway?.stop();
  }
}

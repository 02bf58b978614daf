import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Grants, Workload } from '../manifest/workload.ts';
import { Gateway, type GatewayParts } from './gateway.ts';

const NO_GRANTS: Grants = { signals: [], can: [], cameras: [], offload: undefined };

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
  async open(workload: Workload): Promise<void> {
    await this.#stop(workload.name);
    const folder = this.folder(workload.name);
    // 0755: the container's user is another one; the folder above is closed to everybody outside.
    await mkdir(folder, { recursive: true, mode: 0o755 });
    const gateway = new Gateway(workload, join(folder, GATEWAY_SOCKET), this.#parts);
    this.#open.set(workload.name, gateway);
    await gateway.start();
  }

  /** Serves the gateways of this workload by its grants of now; whoever lost one is told at once. */
  regrant(workload: Workload): void {
    for (const gateway of this.#open.values()) if (gateway.workload.name === workload.name) gateway.regrant(workload);
  }

  /** Nothing is granted any more to workloads that are none of these. */
  revokeAllBut(names: ReadonlySet<string>): void {
    for (const gateway of this.#open.values()) {
      const { workload } = gateway;
      if (!names.has(workload.name)) gateway.regrant({ ...workload, grants: NO_GRANTS });
    }
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

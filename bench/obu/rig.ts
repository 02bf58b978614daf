import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Daemon } from '../peers/daemon.ts';

const peer = (name: string) => fileURLToPath(new URL(`peers/${name}`, import.meta.url));
const kerb = fileURLToPath(new URL('../../cli/kerb.ts', import.meta.url));

/** A userspace bus, the OBU's end of it with gateways, and readers of those, each in a process of its own. */
export class ObuRig {
  readonly folder = mkdtempSync(join(tmpdir(), 'kerb-bench-obu-'));
  readonly bus = join(this.folder, 'can0.bus');
  readonly #daemons: Daemon[] = [];
  #obu: Daemon | undefined;

  /** The process that has the router and the gateways. */
  get obu(): Daemon {
    return this.#obu!;
  }

  async startBus(): Promise<void> {
    const bus = this.#spawn([kerb, 'can', 'bus', '--socket', this.bus]);
    await bus.nextLine();
  }

  /** @param camera source of the camera `front` */
  async startObu(gateways: number, camera?: string): Promise<void> {
    const parts = { folder: this.folder, bus: this.bus, gateways, camera };
    this.#obu = this.#spawn([peer('obu-gateways.ts'), JSON.stringify(parts)]);
    await this.#obu.nextLine();
  }

  /** A program at one of the gateways, once it has its subscription. */
  async startReader(
    program: 'can-reader.ts' | 'camera-reader.ts',
    gateway: number,
    ...args: string[]
  ): Promise<Daemon> {
    const reader = this.#spawn([peer(program), join(this.folder, `${gateway}.sock`), ...args]);
    await reader.nextLine();
    return reader;
  }

  async stop(): Promise<void> {
    for (const daemon of this.#daemons.reverse()) await daemon.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  #spawn(args: readonly string[]): Daemon {
    const daemon = new Daemon(args);
    this.#daemons.push(daemon);
    return daemon;
  }
}

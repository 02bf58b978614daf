import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { vi } from 'vitest';
import { getStatus } from '../../../shared/api/control-client.ts';
import type { BrokerStatus } from '../../../shared/api/status.ts';

const TOP = join(import.meta.dirname, '../../..');

/** `kerb broker serve` as a process of its own, with real tenders, that comes back at the same address after it was killed. */
export class BrokerProcess {
  readonly port: number;
  readonly #api: string;
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;

  private constructor(port: number, api: string, args: readonly string[], env: Readonly<Record<string, string>>) {
    this.port = port;
    this.#api = api;
    this.#args = args;
    this.#env = env;
  }

  /**
   * Not started yet. Its id is rsu-1; its packages are in `packages`, its state in `state` below the folder.
   * @param identity folder of the broker's identity
   * @param more options of `kerb broker serve`
   */
  static async create(
    folder: string,
    identity: string,
    more: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
  ): Promise<BrokerProcess> {
    const port = await freePort();
    const api = join(folder, 'api.sock');
    const args = [
      ...[join(TOP, 'cli/kerb.ts'), 'broker', 'serve', '--id', 'rsu-1', '--listen', `127.0.0.1:${port}`],
      ...['--identity', identity, '--packages', join(folder, 'packages'), '--allow-unsigned'],
      ...['--state', join(folder, 'state'), '--api', api, ...more],
    ];
    return new BrokerProcess(port, api, args, env);
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  status(): Promise<BrokerStatus> {
    return getStatus<BrokerStatus>(this.#api);
  }

  /** Resolves when its API answers. */
  async start(): Promise<void> {
    rmSync(this.#api, { force: true });
    const env = { ...process.env, KERB_LOG: 'fatal', ...this.#env };
    this.#child = spawn(process.execPath, this.#args, { stdio: ['ignore', 'ignore', 'inherit'], env });
    await vi.waitFor(() => this.status(), { timeout: 60_000, interval: 50 });
  }

  /** By SIGKILL; also when it has ended already. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

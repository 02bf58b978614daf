import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { stateLayout } from '../../obu/config/state-layout.ts';
import { processesWith } from '../../obu/engine/processes.ts';
import { callControl, getStatus } from '../../shared/api/control-client.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { Daemon } from '../peers/daemon.ts';
import { type Ends, endAll } from './ends.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));
const kerb = join(root, 'bin/kerb');
const IMAGE = 'kerbside-bench-sleep:1';
const BUSYBOX = '/usr/bin/busybox';
const LIMIT_MS = 300_000;
/** Sleeps, and ends at once when it is asked to, as a first process does only with a handler of its own. */
const SLEEP = ['/busybox', 'sh', '-c', "trap 'exit 0' TERM; /busybox sleep 1000000 & wait"];

/** Settings that all services share; a new ROUND changes their configuration, so that each is started again. */
export interface Own {
  readonly restart: 'always' | 'no';
  readonly environment?: { readonly ROUND: string };
}

const ALWAYS: Own = { restart: 'always' };

/** One whole OBU in a process of its own: a quiet userspace bus, the signals of the simulated car, sleeping workloads. */
export class WholeObu {
  readonly #folder = mkdtempSync(join(tmpdir(), 'kerb-bench-whole-'));
  readonly #api = join(this.#folder, 'api.sock');
  readonly #state = join(this.#folder, 'state');
  #bus: Daemon | undefined;
  #daemon: Daemon | undefined;
  #host = '';

  get pid(): number {
    return this.#daemon!.pid;
  }

  /** Starts it with so many workloads and waits until they run. `stop()` is needed also when this fails. */
  async start(workloads: number, own: Own = ALWAYS): Promise<void> {
    const bus = join(this.#folder, 'can0.bus');
    this.#bus = new Daemon([join(root, 'cli/kerb.ts'), 'can', 'bus', '--socket', bus]);
    await this.#bus.nextLine();
    const config = join(this.#folder, 'obu.yaml');
    writeFileSync(
      config,
      JSON.stringify({
        vehicle: 'bench',
        obu: 'bench',
        // A hundred that count as the default would ask for more processors than the machine has.
        undeclared: { memory: '16m', cpus: 0.01 },
        buses: { can0: { kind: 'userspace', socket: bus } },
        signals: { dbc: { can0: [join(root, 'sim/car/car.dbc')] }, mapping: [join(root, 'sim/car/car.vss.yaml')] },
      }),
    );
    const manifest = join(this.#folder, 'manifest.yaml');
    writeFileSync(manifest, manifestOf(workloads, own));
    const files = ['--config', config, '--manifest', manifest, '--state', this.#state, '--api', this.#api];
    this.#daemon = new Daemon(['obu', 'serve', ...files], kerb);
    const { engine } = await this.#until(() => true);
    this.#host = engine.host;
    await this.#importImage();
    await this.#running(workloads);
  }

  /** Processes of the engine, when it is the OBU's own. */
  engineProcesses(): readonly number[] {
    const { engine } = stateLayout(this.#state);
    if (this.#host !== `unix://${engine.socket}`) return [];
    const helpers = processesWith(`${engine.execRoot}/`);
    return [...new Set([Number(readFileSync(engine.pidFile, 'utf8')), ...helpers])];
  }

  /** Applies a manifest with so many workloads over the control socket, and waits until just those run. */
  async apply(workloads: number, own: Own = ALWAYS): Promise<void> {
    await callControl(this.#api, '/v1/manifest?file=bench.yaml', {
      method: 'POST',
      body: manifestOf(workloads, own),
      timeoutMs: 60_000,
    });
    await this.#running(workloads);
  }

  /** The same with the command, which waits by itself. */
  async applyByCommand(workloads: number): Promise<void> {
    const file = join(this.#folder, 'applied.yaml');
    writeFileSync(file, manifestOf(workloads));
    await run(kerb, ['obu', 'apply', file, '--api', this.#api]);
  }

  /** Ends all of its containers at once, and waits until status shows it; they are not started again. */
  endAll(): Promise<Ends[]> {
    return endAll({ api: this.#api, host: this.#host, state: this.#state, isOver: () => this.#daemon!.ended });
  }

  /** All of these at once, as a person does it without an OBU. */
  async dockerRunAll(names: readonly string[]): Promise<void> {
    await Promise.all(names.map((name) => this.dockerRun(name)));
  }

  async dockerRemoveAll(names: readonly string[]): Promise<void> {
    await run('docker', ['-H', this.#host, 'rm', '-f', ...names]);
  }

  async dockerRun(name: string): Promise<void> {
    await run('docker', ['-H', this.#host, 'run', '-d', '--network', 'none', '--name', name, IMAGE]);
  }

  async dockerRemove(name: string): Promise<void> {
    await run('docker', ['-H', this.#host, 'rm', '-f', name]);
  }

  async stop(): Promise<void> {
    await this.#daemon?.stop();
    await this.#bus?.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #importImage(): Promise<void> {
    const tar = join(this.#folder, 'image.tar');
    await run('tar', ['-C', dirname(BUSYBOX), '-cf', tar, 'busybox']);
    await run('docker', ['-H', this.#host, 'import', '-c', `CMD ${JSON.stringify(SLEEP)}`, tar, IMAGE]);
  }

  async #running(workloads: number): Promise<void> {
    await this.#until(
      (status) => status.workloads.length === workloads && status.workloads.every(({ state }) => state === 'Running'),
    );
  }

  async #until(isSo: (status: ObuStatus) => boolean): Promise<ObuStatus> {
    const giveUpAt = performance.now() + LIMIT_MS;
    let last: ObuStatus | undefined;
    for (;;) {
      if (this.#daemon!.ended) throw new Error(`the OBU ended: ${this.#daemon!.errors}`);
      const status = await getStatus<ObuStatus>(this.#api).catch(() => undefined);
      if (status !== undefined && isSo(status)) return status;
      last = status ?? last;
      if (performance.now() > giveUpAt)
        throw new Error(`the OBU is not ready after ${LIMIT_MS / 1000} s: ${oddOne(last)}`);
      await sleep(10);
    }
  }
}

/** The first workload that does not run, for a message. */
function oddOne(status: ObuStatus | undefined): string {
  const one = status?.workloads.find(({ state }) => state !== 'Running');
  return one === undefined ? 'no workload is wrong' : `${one.name} is ${one.state}(${one.detail}): ${one.reason}`;
}

/** Sleeping workloads that each may read a bus and signals, so that each has all of a gateway. */
function manifestOf(workloads: number, own: Own = ALWAYS): string {
  const grants = { can: [{ bus: 'can0', read: ['100:700'] }], signals: ['read:Vehicle.Speed'] };
  // No limits: `docker run`, beside which this is measured, has none.
  const service = { image: IMAGE, ...own, 'x-obu': { grants } };
  return JSON.stringify({
    services: Object.fromEntries(Array.from({ length: workloads }, (_, i) => [`sleep-${i}`, service])),
  });
}

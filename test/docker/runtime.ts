/** For tests: what runs workloads, on a real engine, with nothing of a car around it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseObuConfig } from '../../obu/config/config.ts';
import { type StateLayout, stateLayout } from '../../obu/config/state-layout.ts';
import { type Engine, engineStatus } from '../../obu/engine/docker-client.ts';
import type { GatewayMeter } from '../../obu/gateway/connection-context.ts';
import { Gateways } from '../../obu/gateway/gateways.ts';
import { buildWorkloadImage } from '../../obu/images/workload-image.ts';
import type { HealthCheck, Workload } from '../../obu/manifest/workload.ts';
import { NoOffloader } from '../../obu/offload/no-offloader.ts';
import type { ReconcilerStore, WorkloadRecord } from '../../obu/planner/state.ts';
import { SignalStore } from '../../obu/signals/signal-store.ts';
import { Telemetry } from '../../obu/telemetry/telemetry.ts';
import { desiredOf } from '../../obu/workloads/container-spec.ts';
import type { Reconciler } from '../../obu/workloads/reconciler.ts';
import { startWorkloads } from '../../obu/workloads/start.ts';
import { createLog, silentLog } from '../../shared/base/log.ts';
import { RunningParts } from '../../shared/base/running-parts.ts';
import { until } from '../support/until.ts';
import { workloadOf } from '../support/workload.ts';

export const IMAGE = 'kerbside-test-busybox:1';

/** Ends at once when it is asked to; well while there is a file /data/well. */
const loop = 'trap "exit 0" TERM; while :; do sleep 3600 & wait; done';
export const healthcheck: HealthCheck = {
  test: ['CMD', 'test', '-e', '/data/well'],
  intervalMs: 1000,
  timeoutMs: 5000,
  retries: 2,
  startPeriodMs: 0,
};

export function busyWorkload(own: Partial<Workload> & { readonly name: string }): Workload {
  return workloadOf({ image: IMAGE, command: ['sh', '-c', loop], restart: { policy: 'always' }, ...own });
}

/**
 * Files that share one engine build the same image, and another test removes one: now and then Docker's classic builder then
 * misses what it has just written ("failed to get digest … imagedb … no such file"). That, and nothing else, is tried again.
 */
async function withRetries<T>(build: () => Promise<T>): Promise<T> {
  for (let left = 3; ; left--) {
    try {
      return await build();
    } catch (error) {
      if (left === 0 || !/imagedb.*no such file/s.test(String(error))) throw error;
    }
  }
}

/** @param variant anything: another one is another image */
export async function buildImage(engine: Engine, tag = IMAGE, variant = '1'): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kerb-busybox-'));
  try {
    // The links are made here: a step that runs something costs a container.
    await mkdir(join(folder, 'bin'));
    await cp('/bin/busybox', join(folder, 'bin/busybox'), { dereference: true });
    const names = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).split('\n');
    for (const name of names) if (name && name !== 'busybox') await symlink('busybox', join(folder, 'bin', name));
    const lines = ['FROM scratch', 'COPY bin /bin', 'ENV PATH=/bin', `ENV VARIANT=${variant}`];
    writeFileSync(join(folder, 'Dockerfile'), `${lines.join('\n')}\n`);
    return await withRetries(async () => (await buildWorkloadImage(engine, folder, tag, () => {})).id);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Memory in a file, replaced as a whole. */
export class FileStore implements ReconcilerStore {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  load(): ReadonlyMap<string, WorkloadRecord> {
    try {
      return new Map(JSON.parse(readFileSync(this.#file, 'utf8')) as [string, WorkloadRecord][]);
    } catch {
      return new Map(); // none yet
    }
  }

  save(memory: ReadonlyMap<string, WorkloadRecord>): void {
    writeFileSync(`${this.#file}.part`, JSON.stringify([...memory]));
    renameSync(`${this.#file}.part`, this.#file);
  }
}

export const newState = () => mkdtempSync(join(tmpdir(), 'kerb-runtime-'));

export class Runtime {
  readonly state: string;
  readonly layout: StateLayout;
  readonly store: FileStore;
  readonly #log = process.env.KERB_TEST_LOG ? createLog('test') : silentLog();
  readonly #telemetry = new Telemetry({ vehicle: 'test-car', obu: 'obu-1', log: this.#log });
  readonly errors = this.#telemetry.errors;
  /** [victim, by] */
  readonly preemptions: [string, string][] = [];
  /** [workload, step], as they were begun */
  readonly steps: [string, string][] = [];
  readonly #config: string;
  #running = new RunningParts(this.#log);
  engine!: Engine;
  reconciler!: Reconciler;

  /** @param config of the OBU, without its name */
  constructor(state: string, config: string) {
    this.state = state;
    this.#config = config;
    this.layout = stateLayout(state);
    this.store = new FileStore(join(state, 'memory.json'));
  }

  async start(workloads: readonly Workload[] = []): Promise<void> {
    await mkdir(this.layout.runtime, { recursive: true, mode: 0o700 });
    await mkdir(this.layout.data, { recursive: true });
    const signals = new SignalStore([], []);
    const gateways = new Gateways(this.layout.gateways, {
      vehicle: 'test-car',
      obu: 'obu-1',
      offloader: new NoOffloader(),
      log: silentLog(),
      offers: { routers: new Map(), signals, cameras: new Map(), tasks: new Map() },
      meter: new Proxy({}, { get: () => () => {} }) as GatewayMeter,
    });
    await this.#running.begin('gateways', gateways);
    const config = parseObuConfig(`vehicle: test-car\nobu: obu-1\n${this.#config}`, 'obu.yaml');
    const { engine, reconciler } = await startWorkloads({
      config,
      wanted: workloads.map(desiredOf),
      layout: this.layout,
      gateways,
      signals,
      store: this.store,
      buses: new Map(),
      report: (event) => {
        this.#telemetry.report(event);
        if (event.event === 'step') this.steps.push([event.workload, event.step]);
        if (event.event === 'preempted') this.preemptions.push([event.workload, event.preempted.by]);
      },
      running: this.#running,
      hurry: undefined,
      log: this.#log,
    });
    this.engine = engine;
    this.reconciler = reconciler;
  }

  /** Stops as an OBU does, which leaves its runtime folder to what still uses it. */
  async leave(): Promise<void> {
    await this.#running.stop();
    this.#running = new RunningParts(this.#log);
  }

  async stop(): Promise<void> {
    await this.leave();
    await rm(this.layout.runtime, { recursive: true, force: true });
  }

  /** From now on exactly these are wanted. */
  apply(...workloads: Workload[]): void {
    this.reconciler.setDesired(workloads.map(desiredOf));
  }

  /** "Running(Ok)". */
  word(workload: string): string {
    const { state, detail } = this.reconciler.state(workload);
    return `${state}(${detail})`;
  }

  /** Waits until a workload is in this state, and gives the reason. */
  async until(workload: string, wanted: string, reason = /./): Promise<string> {
    const known = () => this.reconciler.state(workload);
    await until(`${workload} is ${wanted}`, () => this.word(workload) === wanted && reason.test(known().reason), known);
    return known().reason;
  }

  /** Its containers, the oldest first. */
  async containers(workload: string) {
    const label = [`kerbside.owner=obu-1/${this.layout.stateHash}`, `kerbside.workload=${workload}`];
    const listed = await this.engine.calls.listContainers({ all: true, filters: { label } });
    const all = await Promise.all(
      listed.map(async ({ Id }) => {
        try {
          return [await this.engine.calls.getContainer(Id).inspect()];
        } catch (error) {
          if (engineStatus(error) === 404) return []; // gone since it was listed
          throw error;
        }
      }),
    );
    return all.flat().sort((a, b) => (a.Created < b.Created ? -1 : 1));
  }

  /** Its only container, as soon as it has one and no other. */
  async container(workload: string) {
    return until(`one container of ${workload}`, async () => {
      const [first, ...more] = await this.containers(workload);
      return more.length === 0 && first;
    });
  }

  async untilGone(...workloads: string[]): Promise<void> {
    for (const workload of workloads)
      await until(`no container of ${workload}`, async () => (await this.containers(workload)).length === 0);
  }

  /** Makes the health check of a workload succeed, or fail. */
  async setWell(workload: string, well: boolean): Promise<void> {
    const file = join(this.layout.data, workload, 'well');
    await mkdir(join(this.layout.data, workload), { recursive: true });
    if (well) writeFileSync(file, '');
    else await rm(file, { force: true });
  }
}

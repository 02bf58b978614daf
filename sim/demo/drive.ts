import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import type { BrokerStatus, ObuStatus } from '../../shared/api/status.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { createLog } from '../../shared/base/log.ts';
import { RunningParts } from '../../shared/base/running-parts.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import { ensureDevelopmentSigner } from '../../shared/task-package/signer.ts';
import { type BusChoice, chooseBus } from './bus-choice.ts';
import { answers, freePort, makeSocketFolder, takeLock } from './host.ts';
import { buildImages, type ProductOptions, packageTasks } from './products.ts';
import { type DriveView, errorKey } from './screen.ts';
import { SourceWatch } from './source-watch.ts';
import { StatusPoll } from './status-poll.ts';
import { Supervisor } from './supervisor.ts';

export interface DriveOptions {
  /** Folder that keeps everything between runs; made when missing. */
  readonly state: string;
  /** The manifest to run. */
  readonly manifest: string;
  /** Camera source as `obu/dashcam` reads it; undefined: the simulated road. */
  readonly camera: string | undefined;
  /** SocketCAN interface; undefined: `vcan0` where the kernel has it, else the userspace bus. */
  readonly can: string | undefined;
  /** Whether the simulated car drives; it never does on a CAN interface that is hardware. */
  readonly simulateCar: boolean;
  /** DBC file of the bus, and its mapping to VSS paths; undefined: those of the simulated car. */
  readonly dbc: string | undefined;
  readonly mapping: string | undefined;
  /** Folder of the installation: examples, sim. */
  readonly root: string;
  /** Whether a daemon is started again when its sources change. */
  readonly watch: boolean;
}

/** What the OBU is configured with. */
interface VehicleParts {
  readonly bus: BusChoice;
  readonly camera: string;
  readonly brokerUrl: string;
  readonly identity: string;
  readonly tasks: Record<string, string>;
}

/**
 * One vehicle and one edge element on this machine: the bus, its simulator, the dashcam, the broker and the OBU, each
 * a `kerb` process of its own. It is a client like any other: it starts commands and reads control sockets.
 */
export class Drive {
  readonly #options: DriveOptions;
  readonly #onStep: (step: string) => void;
  readonly #abort = new AbortController();
  readonly #parts = new RunningParts(createLog('drive'));
  readonly #daemons: Supervisor;
  /** Folder of our sockets, from `start()` on. */
  #run = '';
  #step = '';
  #startedAt = performance.now();
  /** What the daemons complained about while they waited for each other is no news once all runs. */
  #known: ReadonlySet<string> = new Set();
  readonly #obu = new StatusPoll<ObuStatus>(() => join(this.#run, 'obu.sock'));
  readonly #broker = new StatusPoll<BrokerStatus>(() => join(this.#run, 'broker.sock'));

  constructor(options: DriveOptions, onStep: (step: string) => void) {
    this.#options = { ...options, state: resolve(options.state) };
    this.#onStep = onStep;
    this.#daemons = new Supervisor({
      logs: join(this.#options.state, 'logs'),
      parts: this.#parts,
      signal: this.#abort.signal,
      onStop: (name) => {
        this.#step = `stopping ${name}`;
      },
    });
  }

  get picturesFolder(): string {
    return join(this.#options.state, 'obu', 'data', 'lane-filter');
  }

  /** Brings everything up. @throws KerbError of the part that would not start; `stop()` is needed all the same. */
  async start(): Promise<void> {
    const { state } = this.#options;
    await this.#takeState();
    this.#announce('identities: making or checking the development CA');
    const identities = await ensureDevelopmentIdentities(join(state, 'identity'), {
      vehicle: 'demo-car',
      broker: 'rsu-1',
      tenant: 'kerbside-demo',
    });
    const signer = await ensureDevelopmentSigner(join(state, 'identity'));
    const tasks = await packageTasks(join(state, 'packages'), signer.dir, this.#products);
    const bus = await this.#startBus();
    const camera = this.#options.camera ?? (await this.#startDashcam(bus));
    const brokerUrl = await this.#startBroker(identities.broker, signer.trust);
    await this.#startVehicle({ bus, camera, brokerUrl, identity: identities.vehicle, tasks });
    this.#step = '';
    const errors = [...(this.#obu.last?.errors ?? []), ...(this.#broker.last?.errors ?? []), ...this.#daemons.errors];
    this.#known = new Set(errors.map(errorKey));
    this.#startedAt = performance.now();
    if (this.#options.watch) await this.#watchSources();
  }

  view(forMs: number | undefined): DriveView {
    const elapsedMs = performance.now() - this.#startedAt;
    return {
      step: this.#step,
      elapsedMs,
      remainingMs: forMs === undefined || this.#step ? undefined : Math.max(0, forMs - elapsedMs),
      obu: this.#obu.last,
      obuSilentMs: this.#obu.silentMs,
      broker: this.#broker.last,
      brokerSilentMs: this.#broker.silentMs,
      errors: this.#daemons.errors,
      errorsKnown: this.#known,
      picturesFolder: this.picturesFolder,
    };
  }

  /**
   * Both daemons' status of now, the broker's last: it has counted what the OBU has. Nothing is asked for after it, so the
   * two stay of one moment. Who does not answer keeps the last one.
   */
  async lookLast(): Promise<void> {
    await Promise.all([this.#obu.stop(), this.#broker.stop()]);
    if (this.#abort.signal.aborted) return;
    await this.#obu.ask().catch(() => {});
    await this.#broker.ask().catch(() => {});
  }

  /** Takes everything back, the last one started first. Safe to call in the middle of `start()`, and twice. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#parts.stop();
  }

  get #products(): ProductOptions {
    return {
      root: this.#options.root,
      signal: this.#abort.signal,
      announce: (step) => this.#announce(step),
    };
  }

  #announce(step: string): void {
    if (this.#abort.signal.aborted) throw new KerbError(ErrorCode.Cancelled, 'stopped');
    this.#step = step;
    this.#onStep(step);
  }

  async #takeState(): Promise<void> {
    const { state } = this.#options;
    for (const folder of ['logs', 'packages', 'obu', 'broker']) mkdirSync(join(state, folder), { recursive: true });
    const lock = takeLock(state);
    await this.#parts.begin('lock', { stop: () => rmSync(lock, { force: true }) });
    this.#run = makeSocketFolder(state);
    await this.#parts.begin('sockets', { stop: () => rmSync(this.#run, { recursive: true, force: true }) });
  }

  /** The bus and, where it is not hardware, the simulated car. */
  async #startBus(): Promise<BusChoice> {
    const socket = join(this.#run, 'can0.bus');
    const bus = chooseBus(this.#options.can, socket);
    if (bus.spec.startsWith('userspace:')) {
      const server = await this.#daemons.spawn('can-bus', ['can', 'bus', '--socket', socket]);
      await this.#daemons.untilReady(server, () => answers(socket));
    }
    this.#announce(`bus: ${bus.why}`);
    if (bus.hardware) this.#announce('bus: it is hardware, so nothing is simulated on it');
    else if (this.#options.simulateCar) await this.#daemons.spawn('sim-can', ['sim', 'can', '--bus', bus.spec]);
    return bus;
  }

  async #startDashcam(bus: BusChoice): Promise<string> {
    const socket = join(this.#run, 'dashcam.sock');
    this.#announce('dashcam: drawing a simulated road');
    const dbc = join(this.#options.root, 'sim', 'car', 'car.dbc');
    const dashcam = await this.#daemons.spawn('sim-dashcam', [
      ...['sim', 'dashcam', '--bus', bus.spec, '--dbc', dbc, '--socket', socket],
    ]);
    await this.#daemons.untilReady(dashcam, () => answers(socket));
    return `sim:${socket}`;
  }

  /** @returns its URL */
  async #startBroker(identity: string, trust: string): Promise<string> {
    const { state } = this.#options;
    this.#announce('broker: starting');
    const port = await freePort(7443);
    const broker = await this.#daemons.spawn('broker', [
      ...['broker', 'serve', '--id', 'rsu-1', '--listen', `127.0.0.1:${port}`],
      ...['--identity', identity, '--packages', join(state, 'packages'), '--trust', trust],
      ...['--state', join(state, 'broker'), '--api', join(this.#run, 'broker.sock')],
    ]);
    await this.#daemons.untilReady(broker, () => this.#broker.ask());
    await this.#parts.begin('status of the broker', this.#broker);
    return `https://127.0.0.1:${port}`;
  }

  /** The OBU and, when its engine runs, the images; returns when all workloads run. */
  async #startVehicle(vehicle: VehicleParts): Promise<void> {
    const { state, manifest } = this.#options;
    this.#announce('OBU: starting it and its Docker Engine');
    const obu = await this.#daemons.spawn('obu', [
      ...['obu', 'serve', '--config', this.#writeConfig(vehicle), '--manifest', manifest],
      ...['--state', join(state, 'obu'), '--api', join(this.#run, 'obu.sock')],
    ]);
    const { engine } = await this.#daemons.untilReady(obu, () => this.#obu.ask());
    await this.#parts.begin('status of the OBU', this.#obu);
    await buildImages(engine.host, this.#products, (line) => this.#onStep(line));
    this.#announce('workloads: waiting until they run');
    await this.#daemons.untilReady(obu, async () => {
      const waiting = (await this.#obu.ask()).workloads.find((w) => w.state !== 'Running');
      if (waiting) throw new KerbError(ErrorCode.SimulatorFailed, `workload ${waiting.name}: ${waiting.reason}`);
    });
  }

  /** @returns path of the OBU's configuration */
  #writeConfig({ bus, camera, brokerUrl, identity, tasks }: VehicleParts): string {
    const { state, root, dbc, mapping } = this.#options;
    const car = join(root, 'sim', 'car');
    const config = {
      vehicle: 'demo-car',
      obu: 'obu-1',
      buses: { can0: bus.config },
      signals: {
        dbc: { can0: [resolve(dbc ?? join(car, 'car.dbc'))] },
        mapping: [resolve(mapping ?? join(car, 'car.vss.yaml'))],
      },
      cameras: { front: { source: camera } },
      brokers: [{ id: 'rsu-1', url: brokerUrl }],
      identity,
      tasks,
    };
    const file = join(state, 'obu.yaml');
    writeFileSync(file, `# Written by 'kerb sim drive' at every start.\n${stringify(config)}`);
    return file;
  }

  async #watchSources(): Promise<void> {
    const watch = new SourceWatch({
      root: this.#options.root,
      restart: (names) => this.#daemons.restart(names),
      say: (message) => {
        this.#step = message;
        if (message !== '') this.#onStep(message);
      },
    });
    await this.#parts.begin('watch on the sources', watch);
  }
}

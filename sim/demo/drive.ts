import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import type { BrokerStatus, ObuStatus, RecentError } from '../../shared/api/status.ts';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { pause } from '../../shared/base/pause.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import { ensureDevelopmentSigner } from '../../shared/task-package/signer.ts';
import { runKerb, SupervisedChild } from './child.ts';
import { answers, freePort, makeSocketFolder, takeLock } from './host.ts';
import { type DriveView, errorKey } from './screen.ts';
import { StatusPoll } from './status-poll.ts';

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
}

/** What one step of the start-up waits for at most. Building two images on a small board is the slowest. */
const STEP_TIMEOUT_MS = 300_000;
/** Between two looks whether a daemon is ready. */
const READY_MS = 150;

/**
 * One vehicle and one edge element on this machine: the bus, its simulator, the dashcam, the broker and the OBU, each
 * a `kerb` process of its own. It is a client like any other: it starts commands and reads control sockets.
 */
export class Drive {
  readonly #options: DriveOptions;
  readonly #onStep: (step: string) => void;
  readonly #abort = new AbortController();
  /** In the order of starting; stopped backwards. */
  readonly #children: SupervisedChild[] = [];
  readonly #errors: RecentError[] = [];
  /** Folder of our sockets, from `start()` on. */
  #run = '';
  #lock: string | undefined;
  #step = '';
  #startedAt = performance.now();
  /** What the daemons complained about while they waited for each other is no news once all runs. */
  #known: ReadonlySet<string> = new Set();
  readonly #obu = new StatusPoll<ObuStatus>(() => join(this.#run, 'obu.sock'));
  readonly #broker = new StatusPoll<BrokerStatus>(() => join(this.#run, 'broker.sock'));

  constructor(options: DriveOptions, onStep: (step: string) => void) {
    this.#options = { ...options, state: resolve(options.state) };
    this.#onStep = onStep;
  }

  get #obuApi() {
    return join(this.#run, 'obu.sock');
  }
  get #brokerApi() {
    return join(this.#run, 'broker.sock');
  }
  get picturesFolder(): string {
    return join(this.#options.state, 'obu', 'data', 'lane-filter');
  }

  /** Brings everything up. @throws KerbError of the part that would not start; `stop()` is needed all the same. */
  async start(): Promise<void> {
    const { state, root } = this.#options;
    for (const folder of ['logs', 'packages', 'obu', 'broker']) mkdirSync(join(state, folder), { recursive: true });
    this.#lock = takeLock(state);
    this.#run = makeSocketFolder(state);

    this.#announce('identities: making or checking the development CA');
    const identities = await ensureDevelopmentIdentities(join(state, 'identity'), {
      vehicle: 'demo-car',
      broker: 'rsu-1',
      tenant: 'kerbside-demo',
    });

    const signer = await ensureDevelopmentSigner(join(state, 'identity'));
    const tasks: Record<string, string> = {};
    for (const task of readdirSync(join(root, 'examples', 'tasks')).sort()) {
      if (!['dashcam-filter', 'aggregate'].includes(task)) continue;
      this.#announce(`tasks: packaging ${task}`);
      try {
        tasks[task] = await this.#package(task, signer.dir);
      } catch (error) {
        if (this.#abort.signal.aborted) throw error;
        this.#announce(`tasks: going on without ${task}, which cannot be packaged: ${messageOf(error).split('\n')[0]}`);
      }
    }

    const { can } = this.#options;
    const bus = await this.#startBus(can);
    this.#announce(`bus: ${bus.why}`);
    if (bus.hardware) this.#announce('bus: it is hardware, so nothing is simulated on it');
    else if (this.#options.simulateCar) this.#spawn('sim-can', ['sim', 'can', '--bus', bus.spec]);
    const carDbc = join(root, 'sim', 'car', 'car.dbc');

    let camera = this.#options.camera;
    if (!camera) {
      const socket = join(this.#run, 'dashcam.sock');
      camera = `sim:${socket}`;
      this.#announce('dashcam: drawing a simulated road');
      const dbc = join(root, 'sim', 'car', 'car.dbc');
      const dashcam = this.#spawn('sim-dashcam', [
        'sim',
        'dashcam',
        '--bus',
        bus.spec,
        '--dbc',
        dbc,
        '--socket',
        socket,
      ]);
      await this.#until(dashcam, () => answers(socket));
    }

    this.#announce('broker: starting');
    const port = await freePort(7443);
    const broker = this.#spawn('broker', [
      ...['broker', 'serve', '--id', 'rsu-1', '--listen', `127.0.0.1:${port}`],
      ...['--identity', identities.broker, '--packages', join(state, 'packages'), '--trust', signer.trust],
      ...['--state', join(state, 'broker'), '--api', this.#brokerApi],
    ]);
    await this.#until(broker, () => this.#broker.ask());
    this.#broker.start();

    this.#announce('OBU: starting it and its Docker Engine');
    const config = join(state, 'obu.yaml');
    writeFileSync(
      config,
      `# Written by 'kerb sim drive' at every start.\n${stringify({
        vehicle: 'demo-car',
        obu: 'obu-1',
        buses: { can0: bus.config },
        signals: {
          dbc: { can0: [resolve(this.#options.dbc ?? carDbc)] },
          mapping: [resolve(this.#options.mapping ?? join(root, 'sim', 'car', 'car.vss.yaml'))],
        },
        cameras: { front: { source: camera } },
        brokers: [{ id: 'rsu-1', url: `https://127.0.0.1:${port}` }],
        identity: identities.vehicle,
        tasks,
      })}`,
    );
    const obu = this.#spawn('obu', [
      ...['obu', 'serve', '--config', config, '--manifest', this.#options.manifest],
      ...['--state', join(state, 'obu'), '--api', this.#obuApi],
    ]);
    const { engine } = await this.#until(obu, () => this.#obu.ask());
    this.#obu.start();

    await this.#buildImages(engine.host);
    this.#announce('workloads: waiting until they run');
    await this.#until(obu, async () => {
      const waiting = (await this.#obu.ask()).workloads.find((w) => w.state !== 'Running');
      if (waiting) throw new KerbError(ErrorCode.SimulatorFailed, `workload ${waiting.name}: ${waiting.reason}`);
    });
    this.#step = '';
    const errors = [...(this.#obu.last?.errors ?? []), ...(this.#broker.last?.errors ?? []), ...this.#errors];
    this.#known = new Set(errors.map(errorKey));
    this.#startedAt = performance.now();
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
      errors: this.#errors,
      errorsKnown: this.#known,
      picturesFolder: this.picturesFolder,
    };
  }

  /** Both daemons' status of now, the broker's last: it has counted what the OBU has. Who does not answer keeps the last one. */
  async lookOnce(): Promise<void> {
    if (this.#abort.signal.aborted) return;
    await this.#obu.ask().catch(() => {});
    await this.#broker.ask().catch(() => {});
  }

  /** Takes everything back, the last one started first. Safe to call in the middle of `start()`, and twice. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.all([this.#obu.stop(), this.#broker.stop()]);
    for (const child of this.#children.splice(0).reverse()) {
      this.#step = `stopping ${child.spec.name}`;
      await child.stop(20_000);
    }
    if (this.#lock) {
      rmSync(this.#lock, { force: true });
      rmSync(this.#run, { recursive: true, force: true });
      this.#lock = undefined;
    }
  }

  #announce(step: string): void {
    if (this.#abort.signal.aborted) throw new KerbError(ErrorCode.Cancelled, 'stopped');
    this.#step = step;
    this.#onStep(step);
  }

  async #package(task: string, signer: string): Promise<string> {
    const { root, state } = this.#options;
    const out = await runKerb(
      ['task', 'build', join(root, 'examples', 'tasks', task), '-o', join(state, 'packages', task)],
      { signal: this.#abort.signal },
    );
    const digest = /sha256:[0-9a-f]{64}/.exec(out)?.[0];
    if (!digest) throw new KerbError(ErrorCode.SimulatorFailed, `'kerb task build ${task}' printed no digest: ${out}`);
    await runKerb(['task', 'sign', join(state, 'packages', task), '--key', signer], { signal: this.#abort.signal });
    return digest;
  }

  async #startBus(can: string | undefined): Promise<{ spec: string; config: object; why: string; hardware: boolean }> {
    const wanted = can ?? 'vcan0';
    const inKernel = readdirSync('/sys/class/net').includes(wanted);
    if (can && !inKernel) {
      throw new KerbError(
        ErrorCode.BusUnavailable,
        `there is no network interface '${can}'; 'ip link show type can' lists what there is`,
      );
    }
    if (inKernel) {
      return {
        spec: `socketcan:${wanted}`,
        config: { kind: 'socketcan', interface: wanted },
        why: `SocketCAN interface ${wanted}`,
        // A virtual interface (vcan, vxcan) has no device behind it.
        hardware: existsSync(`/sys/class/net/${wanted}/device`),
      };
    }
    const socket = join(this.#run, 'can0.bus');
    const bus = this.#spawn('can-bus', ['can', 'bus', '--socket', socket]);
    await this.#until(bus, () => answers(socket));
    return {
      spec: `userspace:can0@${socket}`,
      config: { kind: 'userspace', socket },
      why: 'this kernel has no interface vcan0: using the userspace bus',
      hardware: false,
    };
  }

  async #buildImages(engine: string): Promise<void> {
    const folder = join(this.#options.root, 'examples', 'workloads');
    for (const workload of ['drive-log', 'lane-filter']) {
      this.#announce(`images: building ${workload}:1 (nothing is pulled; the first time takes a while)`);
      await runKerb(['image', 'build', join(folder, workload), '--tag', `${workload}:1`, '--engine', engine], {
        signal: this.#abort.signal,
        onLine: (line) => this.#onStep(`images: ${line}`),
      });
    }
  }

  #spawn(name: string, args: readonly string[]): SupervisedChild {
    const logFile = join(this.#options.state, 'logs', `${name}.log`);
    writeFileSync(logFile, '');
    const child = new SupervisedChild({ name, args, logFile }, (message) => {
      this.#errors.push({
        time: new Date().toISOString(),
        source: 'kerb sim drive',
        code: ErrorCode.SimulatorFailed,
        message,
      });
      if (this.#errors.length > 50) this.#errors.shift();
    });
    this.#children.push(child);
    child.start();
    return child;
  }

  /** Tries again until `attempt` does not throw. Gives up when the child ends or takes too long. */
  async #until<T>(child: SupervisedChild, attempt: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + STEP_TIMEOUT_MS;
    for (;;) {
      if (this.#abort.signal.aborted) throw new KerbError(ErrorCode.Cancelled, 'stopped');
      try {
        return await attempt();
      } catch (error) {
        // What ends before it was ever ready will not be better the next time.
        if (child.deathsInARow > 0) throw new KerbError(ErrorCode.SimulatorFailed, child.lastDeath);
        if (performance.now() > deadline) {
          const why = isKerbError(error) ? error.message : messageOf(error);
          throw new KerbError(
            ErrorCode.SimulatorFailed,
            `${child.spec.name} was not ready after ${STEP_TIMEOUT_MS / 1000} s: ${why}; its log is ${child.spec.logFile}`,
          );
        }
      }
      await pause(READY_MS, this.#abort.signal);
    }
  }
}

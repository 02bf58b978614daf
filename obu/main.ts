import { mkdir, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { ControlRoutes } from '../shared/api/control-routes.ts';
import { createControlServer } from '../shared/api/control-server.ts';
import { RecentErrors } from '../shared/api/recent-errors.ts';
import type { ObuStatus } from '../shared/api/status.ts';
import { ErrorCode, KerbError, messageOf } from '../shared/base/errors.ts';
import type { Logger } from '../shared/base/log.ts';
import { reasonOf } from '../shared/can/bus.ts';
import type { IdentityWatch } from '../shared/identity/identity-watch.ts';
import type { SignalSource } from '../shared/vss/signal.ts';
import type { ApiParts } from './api/parts.ts';
import { obuRoutes } from './api/routes.ts';
import { RemoteApi } from './api/serve.ts';
import { displacers } from './api/situation.ts';
import { readStatus } from './api/status.ts';
import { Buses, type ObuBus } from './can/buses.ts';
import type { CanRouter } from './can/router.ts';
import { ClockFloor } from './config/clock-floor.ts';
import type { ObuConfig } from './config/config.ts';
import { watchIdentity } from './config/identity.ts';
import { offersOf } from './config/offers.ts';
import { stateLayout } from './config/state-layout.ts';
import { createManagedCamera, type ManagedCamera } from './dashcam/start.ts';
import { Gateways } from './gateway/gateways.ts';
import { NoOffloader } from './offload/no-offloader.ts';
import { ControlUnitSignals } from './signals/control-unit-signals.ts';
import type { SignalStore } from './signals/signal-store.ts';
import { makeSignals } from './signals/start.ts';
import { DesiredState, type ManifestFile } from './state/desired-state.ts';
import { StateLock } from './state/lock.ts';
import { ChangeWatch } from './telemetry/change-watch.ts';
import { DeniedIdLog } from './telemetry/denied-ids.ts';
import { EventLog } from './telemetry/event-log.ts';
import { ObuMetrics } from './telemetry/metrics.ts';
import { denialObserver, faultOf, gatewayMeter, type Ledgers, workloadObserver } from './telemetry/observers.ts';
import { OffloadMeter } from './telemetry/offload-meter.ts';
import { ManifestFollower } from './workloads/manifest-follower.ts';
import { startWorkloads } from './workloads/start.ts';

const SAMPLE_MS = 1000;
const MAX_LOGGED_WARNINGS = 20;

export interface ObuOptions {
  readonly config: ObuConfig;
  /** What is applied when it is another one than before; undefined: the OBU goes on with what was applied before. */
  readonly manifest?: ManifestFile;
  /** Folder for everything that is kept; made when missing. */
  readonly state: string;
  /** Control socket. */
  readonly api: string;
  readonly log: Logger;
  /** Takes everything back, also in the middle of the start. */
  readonly signal?: AbortSignal;
  /** Makes taking back quick instead of gentle. */
  readonly hurry?: AbortSignal;
}

export interface RunningObu {
  status(): ObuStatus;
  /** Takes everything back: containers unless they are to be kept, the private engine, sockets. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Starts an OBU: the only place where its parts are made and joined.
 * @throws KerbError of the part that does not start; everything that was started before it is taken back
 */
export async function startObu(options: ObuOptions): Promise<RunningObu> {
  const obu = new Obu(options);
  const onAbort = () => void obu.stop().catch(() => {}); // start() fails then, and its caller hears of it
  options.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    if (options.signal?.aborted) throw new KerbError(ErrorCode.Cancelled, 'stopped');
    await obu.start();
    return obu;
  } catch (error) {
    await obu.stop();
    throw error;
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
  }
}

/** Something that runs, and how it is taken back. */
interface Part {
  readonly name: string;
  readonly stop: () => Promise<void> | void;
}

/** Makes a folder and those above it. @throws KerbError BadConfig */
async function makeFolder(path: string, mode?: number): Promise<void> {
  try {
    await mkdir(path, { recursive: true, ...(mode !== undefined && { mode }) });
  } catch (error) {
    throw new KerbError(ErrorCode.BadConfig, `folder ${path} cannot be made: ${messageOf(error)}`, { path });
  }
}

class Obu implements RunningObu {
  readonly #options: ObuOptions;
  readonly #log: Logger;
  readonly #startedAt = new Date().toISOString();
  readonly #errors = new RecentErrors();
  readonly #offloads = new OffloadMeter();
  readonly #metrics = new ObuMetrics();
  readonly #events = new EventLog();
  readonly #deniedIds = new DeniedIdLog();
  readonly #ledgers: Ledgers = {
    ...{ metrics: this.#metrics, offloads: this.#offloads, errors: this.#errors, events: this.#events },
    deniedIds: this.#deniedIds,
  };
  /** In the order of starting; stopped backwards. */
  readonly #parts: Part[] = [];
  #stopped: Promise<void> | undefined;
  #apiParts: ApiParts | undefined;

  constructor(options: ObuOptions) {
    this.#options = options;
    this.#log = options.log;
  }

  status(): ObuStatus {
    return readStatus(this.#up());
  }

  #up(): ApiParts {
    if (this.#apiParts === undefined) throw new KerbError(ErrorCode.ApiUnavailable, 'the OBU is still starting');
    return this.#apiParts;
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  async #stopAll(): Promise<void> {
    for (const part of this.#parts.splice(0).reverse()) {
      try {
        await part.stop();
      } catch (error) {
        this.#log.error({ part: part.name, err: error }, 'a part did not stop cleanly');
      }
    }
  }

  /** Starts a part; it is on the list before it starts, so that a stop in the middle takes it back too. */
  async #begin(name: string, stop: Part['stop'], start: () => Promise<void> | void): Promise<void> {
    if (this.#stopped !== undefined) throw new KerbError(ErrorCode.Cancelled, 'stopped');
    this.#parts.push({ name, stop });
    await start();
    if (this.#stopped === undefined) return;
    // What it has made after it was stopped goes as well.
    await stop();
    throw new KerbError(ErrorCode.Cancelled, 'stopped');
  }

  async #everySecond(name: string, task: () => void): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const start = () => {
      timer = setInterval(task, SAMPLE_MS);
    };
    await this.#begin(name, () => clearInterval(timer), start);
  }

  async start(): Promise<void> {
    const { config, manifest, state, api } = this.#options;
    await makeFolder(state);
    const layout = stateLayout(state);
    const lock = new StateLock(state, layout.stateHash);
    await this.#begin(
      'state lock',
      () => lock.stop(),
      () => lock.start(),
    );
    const routes = obuRoutes(() => this.#up(), this.#events);
    // Early, so that a socket that is taken is found before containers are started; it answers that we are starting.
    const server = createControlServer({
      socketPath: api,
      routes,
      log: this.#log,
    });
    await makeFolder(dirname(resolve(api)));
    await this.#begin(
      'control socket',
      () => server.stop(),
      () => server.start(),
    );
    const identity = await this.#startIdentity();
    const remoteApi = await this.#startRemoteApi(routes, identity);
    await this.#begin(
      'runtime folder',
      async () => {
        // Only when it is empty: containers that outlived an OBU, and their engine, still have their files there.
        await rmdir(layout.runtime).catch(() => {});
      },
      async () => {
        await makeFolder(dirname(layout.runtime));
        await makeFolder(layout.runtime, 0o700);
        await makeFolder(layout.data, 0o700);
      },
    );

    const desired = new DesiredState({
      database: layout.database,
      offers: await offersOf(config),
      onProblem: ({ code, message }) => this.#errors.add('state', code, message),
      log: this.#log.child({ part: 'state' }),
    });
    await this.#begin(
      'desired state',
      () => desired.stop(),
      () => desired.start(manifest),
    );
    const clock = await this.#startClock(layout.clock, desired);
    const buses = await this.#startBuses();
    const signals = await this.#startSignals(buses.all, buses.routers);
    const cameras = await this.#startCameras(signals, join(state, 'recordings'));
    const offloader = await this.#startOffloader(identity);
    const gateways = new Gateways(layout.gateways, {
      vehicle: config.vehicle,
      obu: config.obu,
      offers: {
        routers: buses.routers,
        signals,
        cameras: new Map(cameras.map(({ camera }) => [camera.name, camera])),
        tasks: config.tasks,
      },
      offloader,
      meter: gatewayMeter(this.#ledgers),
      log: this.#log.child({ part: 'gateway' }),
    });
    await this.#begin(
      'gateways',
      () => gateways.stop(),
      () => {},
    );

    const { engine, lines, reconciler, interfaces } = await startWorkloads({
      ...{ config, wanted: desired.wanted, layout, gateways, signals, store: desired.store, log: this.#log },
      ...{ hurry: this.#options.hurry, begin: this.#begin.bind(this), errors: this.#errors, buses: buses.byName },
      observer: workloadObserver(this.#ledgers),
      onFault: faultOf(this.#ledgers),
      denials: denialObserver(this.#ledgers),
    });
    desired.follow(() => {
      const { generation, file } = desired.manifest();
      this.#events.add('manifest', config.obu, 'Applied', `generation ${generation}, ${file}`);
    });
    const follower = new ManifestFollower({ desired, gateways, interfaces, reconciler, log: this.#log });
    await this.#begin(
      'manifest follower',
      () => follower.stop(),
      () => follower.start(),
    );
    await this.#everySecond('manifest watch', () =>
      desired.watch((name) => ({ ...reconciler.state(name), displacedBy: displacers(reconciler, name) })),
    );

    this.#apiParts = {
      ...{ desired, events: this.#events, metrics: this.#metrics, deniedIds: this.#deniedIds },
      ...{ identity, remoteApi, clock },
      ...{ config, startedAt: this.#startedAt, engine, buses: buses.all, signals, cameras },
      ...{ reconciler, lines, offloads: this.#offloads, offloader, errors: this.#errors },
    };
    const changes = new ChangeWatch(this.#events);
    await this.#everySecond('change watch', () => changes.look(this.status()));
    this.#log.info({ path: api, url: engine.host, count: desired.wanted.length }, 'the OBU is up');
  }

  /** It comes when it comes: nothing local waits for it. */
  async #startIdentity(): Promise<IdentityWatch | undefined> {
    const reporters = { events: this.#events, errors: this.#errors, log: this.#log.child({ part: 'identity' }) };
    const watch = watchIdentity(this.#options.config, reporters);
    if (watch === undefined) return undefined;
    await this.#begin(
      'identity',
      () => watch.stop(),
      () => watch.start(),
    );
    return watch;
  }

  async #startRemoteApi(routes: ControlRoutes, identity: IdentityWatch | undefined): Promise<RemoteApi | undefined> {
    const { api, vehicle } = this.#options.config;
    if (api === undefined || identity === undefined) return undefined;
    const onTrouble = (code: ErrorCode, message: string) => this.#errors.add('API', code, message);
    const log = this.#log.child({ part: 'api' });
    const remote = new RemoteApi({ api, vehicle, identity, routes, onTrouble, log });
    await this.#begin(
      'API',
      () => remote.stop(),
      () => remote.start(),
    );
    return remote;
  }

  async #startClock(file: string, desired: DesiredState): Promise<ClockFloor> {
    const clock = new ClockFloor(file, this.#log.child({ part: 'clock' }));
    await this.#begin(
      'clock',
      () => clock.stop(),
      () => clock.start(desired.history()[0]?.appliedAtMs),
    );
    return clock;
  }

  async #startBuses(): Promise<Buses> {
    const { buses: configs, obu } = this.#options.config;
    const buses = new Buses({
      configs,
      client: `kerb obu ${obu}`,
      onTrouble: (bus, code, reason) => this.#errors.add(`bus ${bus}`, code, reason),
      onState: (bus, state) => this.#events.add('bus', bus, state.state, reasonOf(state)),
      log: this.#log.child({ part: 'can' }),
    });
    await this.#begin(
      'buses',
      () => buses.stop(),
      () => buses.start(),
    );
    return buses;
  }

  async #startSignals(buses: readonly ObuBus[], routers: ReadonlyMap<string, CanRouter>): Promise<SignalStore> {
    const { obu, signals } = this.#options.config;
    const store = await makeSignals(obu, signals, routers);
    await this.#begin(
      'signals',
      () => store.stop(),
      () => store.start(),
    );
    this.#tellWarnings(store.warnings);
    const ownState = new ControlUnitSignals({
      obu,
      provider: store.openProvider(obu),
      buses: () => buses.map(({ bus }) => bus.state.state === 'Up'),
      workloads: () => this.#apiParts && readStatus(this.#apiParts).workloads.map(({ state }) => state),
    });
    await this.#begin(
      'own state',
      () => ownState.stop(),
      () => ownState.start(),
    );
    return store;
  }

  /** What is wrong in the files of signals, and has not kept the rest of them from working. */
  #tellWarnings(warnings: readonly string[]): void {
    const log = this.#log.child({ part: 'signals' });
    for (const reason of warnings.slice(0, MAX_LOGGED_WARNINGS)) log.warn({ reason }, 'a signal file has a problem');
    if (warnings.length > MAX_LOGGED_WARNINGS) {
      log.warn({ count: warnings.length }, 'the signal files have more problems; kerb status lists them');
    }
  }

  async #startCameras(signals: SignalSource, recordings: string): Promise<readonly ManagedCamera[]> {
    const cameras = this.#options.config.cameras.map((config) =>
      createManagedCamera(config, { recordings, signals, log: this.#log }),
    );
    for (const own of cameras) {
      await this.#begin(
        `camera ${own.camera.name}`,
        () => own.stop(),
        () => own.start(),
      );
    }
    const known = new Map<string, string>();
    await this.#everySecond('camera watch', () => {
      for (const { camera, recording } of cameras) {
        const { state } = camera.status();
        this.#newFailure(known, `camera ${camera.name}`, state.state === 'Failed' ? state.reason : '');
        this.#newFailure(known, `recording of ${camera.name}`, recording()?.reason ?? '');
      }
    });
    return cameras;
  }

  /** Puts a failure among the errors when it was not the last one of this source. */
  #newFailure(known: Map<string, string>, source: string, reason: string): void {
    if (reason !== '' && known.get(source) !== reason) this.#errors.add(source, ErrorCode.CameraUnavailable, reason);
    known.set(source, reason);
  }

  async #startOffloader(identity: IdentityWatch | undefined) {
    const { brokers } = this.#options.config;
    if (brokers.length === 0 || identity === undefined) return new NoOffloader();
    // Only who has brokers pays for socket.io, in memory too.
    const { BrokerOffloader } = await import('./offload/broker-offloader.ts');
    const offloader = new BrokerOffloader({ brokers, identity, log: this.#log.child({ part: 'offload' }) });
    await this.#begin(
      'offloader',
      () => offloader.stop(),
      () => offloader.start(),
    );
    return offloader;
  }
}

import { dirname, join, resolve } from 'node:path';
import type { ControlRoutes } from '../shared/api/control-routes.ts';
import { createControlServer } from '../shared/api/control-server.ts';
import type { RemoteApi } from '../shared/api/remote-api.ts';
import type { ObuStatus } from '../shared/api/status.ts';
import { ErrorCode, KerbError } from '../shared/base/errors.ts';
import type { Logger } from '../shared/base/log.ts';
import { type Part, RunningParts } from '../shared/base/running-parts.ts';
import type { IdentityWatch } from '../shared/identity/identity-watch.ts';
import type { ApiParts } from './api/parts.ts';
import { obuRoutes } from './api/routes.ts';
import { vehicleApi } from './api/serve.ts';
import { displacers } from './api/situation.ts';
import { readStatus } from './api/status.ts';
import { Buses } from './can/buses.ts';
import { ClockFloor } from './config/clock-floor.ts';
import type { ObuConfig } from './config/config.ts';
import { makeFolder, OwnFolders } from './config/folders.ts';
import { watchIdentity } from './config/identity.ts';
import { offersOf } from './config/offers.ts';
import { type StateLayout, stateLayout } from './config/state-layout.ts';
import { CameraFaultWatch } from './dashcam/fault-watch.ts';
import { createManagedCamera, type ManagedCamera } from './dashcam/start.ts';
import { Gateways } from './gateway/gateways.ts';
import { NoOffloader } from './offload/no-offloader.ts';
import type { Offloader } from './offload/offloader.ts';
import { ControlUnitSignals } from './signals/control-unit-signals.ts';
import type { SignalStore } from './signals/signal-store.ts';
import { makeGpsd, makeSignals } from './signals/start.ts';
import { DesiredState, type ManifestFile } from './state/desired-state.ts';
import { StateLock } from './state/lock.ts';
import { ChangeWatch } from './telemetry/change-watch.ts';
import { logSignalWarnings } from './telemetry/log-warnings.ts';
import { Telemetry } from './telemetry/telemetry.ts';
import { ManifestFollower } from './workloads/manifest-follower.ts';
import { startWorkloads } from './workloads/start.ts';

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
  await makeFolder(options.state);
  const obu = new Obu(options, stateLayout(options.state));
  await obu.start();
  return obu;
}

/** What says which vehicle this is, and serves the API. */
interface Reachable {
  readonly identity: IdentityWatch | undefined;
  readonly remoteApi: RemoteApi | undefined;
}

/** What of the car workloads may be granted. */
interface Car {
  readonly buses: Buses;
  readonly signals: SignalStore;
  readonly cameras: readonly ManagedCamera[];
}

class Obu implements RunningObu {
  readonly #options: ObuOptions;
  readonly #log: Logger;
  readonly #startedAt = new Date().toISOString();
  readonly #layout: StateLayout;
  readonly #telemetry: Telemetry;
  readonly #running: RunningParts;
  #apiParts: ApiParts | undefined;

  constructor(options: ObuOptions, layout: StateLayout) {
    const { config, log } = options;
    this.#options = options;
    this.#log = log;
    this.#layout = layout;
    this.#telemetry = new Telemetry({ vehicle: config.vehicle, obu: config.obu, log });
    this.#running = new RunningParts(log);
  }

  status(): ObuStatus {
    return readStatus(this.#up());
  }

  #up(): ApiParts {
    if (this.#apiParts === undefined) throw new KerbError(ErrorCode.ApiUnavailable, 'the OBU is still starting');
    return this.#apiParts;
  }

  stop(): Promise<void> {
    return this.#running.stop();
  }

  start(): Promise<void> {
    return this.#running.startAll(() => this.#start(), this.#options.signal);
  }

  async #start(): Promise<void> {
    const { config, api } = this.#options;
    const reachable = await this.#startApi();
    const desired = await this.#startDesired();
    const clock = new ClockFloor(this.#layout.clock, this.#log.child({ part: 'clock' }));
    await this.#running.begin('clock', {
      start: () => clock.start(desired.history()[0]?.appliedAtMs),
      stop: () => clock.stop(),
    });
    const car = await this.#startCar();
    const offloader = await this.#startOffloader(reachable.identity);
    const { engine, lines, reconciler } = await this.#startWorkloads(desired, car, offloader);
    const { events, metrics, deniedIds, offloads, errors } = this.#telemetry;
    this.#apiParts = {
      ...reachable,
      config,
      startedAt: this.#startedAt,
      desired,
      clock,
      engine,
      buses: car.buses.all,
      signals: car.signals,
      cameras: car.cameras,
      reconciler,
      lines,
      offloader,
      events,
      metrics,
      deniedIds,
      offloads,
      errors,
    };
    const changes = new ChangeWatch(events);
    const watch = everySecond(() => changes.look(this.status()));
    await this.#running.begin('change watch', watch);
    this.#log.info({ path: api, url: engine.host, count: desired.wanted.length }, 'the OBU is up');
  }

  /** The API comes first, so that a socket that is taken is found before containers are started; it answers that we are starting. */
  async #startApi(): Promise<Reachable> {
    const { state, api } = this.#options;
    await this.#running.begin('state lock', new StateLock(state, this.#layout.stateHash));
    const routes = obuRoutes(() => this.#up(), this.#telemetry.events);
    const server = createControlServer({ socketPath: api, routes, log: this.#log });
    await makeFolder(dirname(resolve(api)));
    await this.#running.begin('control socket', server);
    const identity = await this.#startIdentity();
    const remoteApi = await this.#startRemoteApi(routes, identity);
    await this.#running.begin('runtime folder', new OwnFolders(this.#layout));
    return { identity, remoteApi };
  }

  /** It comes when it comes: nothing local waits for it. */
  async #startIdentity(): Promise<IdentityWatch | undefined> {
    const watch = watchIdentity(this.#options.config, this.#telemetry.report);
    if (watch !== undefined) await this.#running.begin('identity', watch);
    return watch;
  }

  async #startRemoteApi(routes: ControlRoutes, identity: IdentityWatch | undefined): Promise<RemoteApi | undefined> {
    const { api, vehicle } = this.#options.config;
    if (api === undefined || identity === undefined) return undefined;
    const log = this.#log.child({ part: 'api' });
    const remote = vehicleApi({ api, vehicle, identity, routes, report: this.#telemetry.report, log });
    await this.#running.begin('API', remote);
    return remote;
  }

  async #startDesired(): Promise<DesiredState> {
    const { config, manifest } = this.#options;
    const desired = new DesiredState({
      database: this.#layout.database,
      offers: await offersOf(config),
      report: this.#telemetry.report,
      log: this.#log.child({ part: 'state' }),
    });
    await this.#running.begin('desired state', {
      start: () => desired.start(manifest),
      stop: () => desired.stop(),
    });
    return desired;
  }

  async #startCar(): Promise<Car> {
    const { config, state } = this.#options;
    const { report } = this.#telemetry;
    const buses = new Buses({
      configs: config.buses,
      client: `kerb obu ${config.obu}`,
      onTrouble: (bus, code, reason) => report({ event: 'bus-fault', bus, code, reason }),
      onState: (bus, busState) => report({ event: 'bus-state', bus, state: busState }),
      log: this.#log.child({ part: 'can' }),
    });
    await this.#running.begin('buses', buses);
    const signals = await this.#startSignals(buses);
    const parts = { recordings: join(state, 'recordings'), signals, log: this.#log };
    const cameras = config.cameras.map((camera) => createManagedCamera(camera, parts));
    for (const one of cameras) await this.#running.begin(`camera ${one.camera.name}`, one);
    const faults = new CameraFaultWatch(cameras, report);
    await this.#running.begin('camera watch', everySecond(faults.look.bind(faults)));
    return { buses, signals, cameras };
  }

  async #startSignals({ all, routers }: Buses): Promise<SignalStore> {
    const { obu, signals } = this.#options.config;
    const store = await makeSignals(obu, signals, routers);
    await this.#running.begin('signals', store);
    logSignalWarnings(store.warnings, this.#log.child({ part: 'signals' }));
    const ownState = new ControlUnitSignals({
      obu,
      provider: store.openProvider(obu),
      buses: () => all.map(({ bus }) => bus.state.state === 'Up'),
      workloads: () => this.#apiParts && readStatus(this.#apiParts).workloads.map(({ state }) => state),
    });
    await this.#running.begin('own state', ownState);
    const gpsd = makeGpsd(signals, store, this.#log);
    if (gpsd !== undefined) await this.#running.begin('gpsd', gpsd);
    return store;
  }

  async #startOffloader(identity: IdentityWatch | undefined) {
    const { brokers, stateHome, vehicle } = this.#options.config;
    if (brokers.length === 0 || identity === undefined) return new NoOffloader();
    // Only who has brokers pays for socket.io, in memory too.
    const { BrokerOffloader } = await import('./offload/broker-offloader.ts');
    const log = this.#log.child({ part: 'offload' });
    const offloader = new BrokerOffloader({ brokers, identity, stateHome, vehicle, log });
    await this.#running.begin('offloader', offloader);
    return offloader;
  }

  /** The engine, the gateways and all that keeps containers as the manifest wants them. */
  async #startWorkloads(desired: DesiredState, { buses, signals, cameras }: Car, offloader: Offloader) {
    const { config, hurry } = this.#options;
    const log = this.#log;
    const gateways = new Gateways(this.#layout.gateways, {
      vehicle: config.vehicle,
      obu: config.obu,
      offers: {
        routers: buses.routers,
        signals,
        cameras: new Map(cameras.map(({ camera }) => [camera.name, camera])),
        tasks: config.tasks,
      },
      offloader,
      meter: this.#telemetry.gatewayMeter(),
      log: log.child({ part: 'gateway' }),
    });
    await this.#running.begin('gateways', gateways);
    const started = await startWorkloads({
      config,
      wanted: desired.wanted,
      layout: this.#layout,
      gateways,
      signals,
      buses: buses.byName,
      store: desired.store,
      report: this.#telemetry.report,
      running: this.#running,
      hurry,
      log,
    });
    const { reconciler, interfaces } = started;
    const follower = new ManifestFollower({ desired, gateways, interfaces, reconciler, log });
    await this.#running.begin('manifest follower', follower);
    const watch = everySecond(() =>
      desired.watch((name) => ({ ...reconciler.state(name), displacedBy: displacers(reconciler, name) })),
    );
    await this.#running.begin('manifest watch', watch);
    return started;
  }
}

function everySecond(task: () => void): Part {
  let timer: NodeJS.Timeout | undefined;
  return {
    start: () => {
      timer = setInterval(task, 1000);
    },
    stop: () => clearInterval(timer),
  };
}

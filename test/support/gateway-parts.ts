/** For the tests of this room: the ends that a gateway is wired to, driven by hand. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CanRouter } from '../../obu/can/router.ts';
import type { Camera, Picture, PictureRequest } from '../../obu/dashcam/capture/camera.ts';
import type { GatewayMeter } from '../../obu/gateway/connection-context.ts';
import { Gateway, type GatewayOptions } from '../../obu/gateway/gateway.ts';
import { readGrants, type StoredCanGrant, type StoredGrants } from '../../obu/manifest/stored-grants.ts';
import type { Workload } from '../../obu/manifest/workload.ts';
import type { Offloader, RoutedStateCall } from '../../obu/offload/offloader.ts';
import { SignalStore } from '../../obu/signals/signal-store.ts';
import type { KerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import type { BusState, CanBus } from '../../shared/can/bus.ts';
import type { CanFrame } from '../../shared/can/frame.ts';
import type { RoutedOffload } from '../../shared/protocol/offload-request.ts';
import type { OffloadResult } from '../../shared/v2e-client/offload-result.ts';
import type { StateEntry } from '../../shared/v2e-client/state-requests.ts';
import type { LeafValue, SignalValue, VehicleSignals } from '../../shared/vss/signal.ts';
import { parseVssTree } from '../../shared/vss/vss-mapping.ts';
import { workloadOf } from './workload.ts';

export class HandBus implements CanBus {
  readonly name = 'can0';
  readonly kind = 'userspace';
  state: BusState = { state: 'Up' };
  readonly stats = { framesReceived: 0, framesSent: 0, framesDropped: 0, errorFrames: 0, bits: 0 };
  readonly listeners = new Set<(frame: CanFrame) => void>();
  async start() {}
  async stop() {}
  readonly sent: CanFrame[] = [];
  /** Thrown by `send`, once. */
  sendFailure: KerbError | undefined;
  send(one: CanFrame) {
    const failure = this.sendFailure;
    this.sendFailure = undefined;
    if (failure !== undefined) throw failure;
    this.sent.push(one);
  }
  readonly stateListeners = new Set<(state: BusState) => void>();
  onState(listener: (state: BusState) => void) {
    this.stateListeners.add(listener);
    return () => this.stateListeners.delete(listener);
  }
  enter(state: BusState) {
    this.state = state;
    for (const listener of this.stateListeners) listener(state);
  }
  subscribe(listener: (frame: CanFrame) => void) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  deliver(...ids: number[]) {
    for (const id of ids) for (const listener of this.listeners) listener(frame(id));
  }
}

export function frame(id: number, extra: Partial<CanFrame> = {}): CanFrame {
  const data = Uint8Array.of(1, 2, 3);
  return {
    id,
    ext: false,
    rtr: false,
    fd: false,
    brs: false,
    esi: false,
    err: false,
    data,
    timeUs: 1_700_000_000_123_456,
    ...extra,
  };
}

/** Real signals, with no bus behind them: what is delivered is what a provider named "can0" has. */
export class HandSignals extends SignalStore implements VehicleSignals {
  readonly listeners = new Set<unknown>();
  readonly #hand = this.openProvider('can0');

  /** @param more further lines of the VSS file */
  constructor(more = '') {
    const leaves = `
Vehicle.Cabin.Door.IsOpen: { datatype: boolean, type: actuator }
Vehicle.Chassis.SteeringWheel.Angle: { datatype: int16, unit: degrees, min: -720, max: 720 }
Vehicle.Speed: { datatype: float, unit: km/h, description: Vehicle speed. }
`;
    super([], parseVssTree(leaves + more, 'hand.vspec'));
  }

  override subscribe(leaves: ReadonlySet<string>, listener: (values: readonly SignalValue[]) => void) {
    const end = super.subscribe(leaves, listener);
    this.listeners.add(listener);
    return () => {
      end();
      this.listeners.delete(listener);
    };
  }

  deliver(...values: { readonly path: string; readonly value: LeafValue }[]) {
    this.#hand.provide(values);
  }

  /** The source of all values is gone. */
  lose() {
    this.#hand.close();
  }
}

export function value(path: string, datum: SignalValue['value']): SignalValue {
  return { path, value: datum, timeUs: Date.now() * 1000, source: 'can0', stale: false };
}

export class HandCamera implements Camera {
  readonly name = 'front';
  readonly consumers = new Map<(picture: Picture) => void, PictureRequest>();
  async start() {}
  async stop() {}
  status() {
    return {
      name: this.name,
      source: 'hand',
      simulated: true,
      state: { state: 'Running' } as const,
      consumers: 0,
      fps: 0,
      lost: 0,
    };
  }
  subscribe(request: PictureRequest, listener: (picture: Picture) => void) {
    this.consumers.set(listener, request);
    return () => this.consumers.delete(listener);
  }
  deliver(sequence: number, data: Uint8Array) {
    for (const [listener, { format }] of this.consumers) {
      listener({ camera: 'front', sequence, timeUs: 5, format, width: data.length, height: 1, data });
    }
  }
}

export class HandOffloader implements Offloader {
  readonly requests: RoutedOffload[] = [];
  answer: (request: RoutedOffload) => Promise<OffloadResult> = async ({ input }) => ({
    output: input,
    place: 'broker:rsu-1',
    isolation: 'process',
    queueMs: 1,
    runMs: 2,
    totalMs: 4,
  });
  async start() {}
  async stop() {}
  places() {
    return [];
  }
  offload(request: RoutedOffload) {
    this.requests.push(request);
    return this.answer(request);
  }
  readonly stateCalls: RoutedStateCall[] = [];
  keep: (call: RoutedStateCall) => Promise<StateEntry> = async () => ({
    ...{ version: 1, value: new Uint8Array(0), expiresInMs: 0 },
  });
  useState(call: RoutedStateCall) {
    this.stateCalls.push(call);
    return this.keep(call);
  }
  readonly cancelled: string[] = [];
  cancel(id: string) {
    this.cancelled.push(id);
  }
}

export const DIGEST = `sha256:${'ab'.repeat(32)}`;

/** Grants frames to read and none to write. */
export function canRead(bus: string, ...read: string[]): StoredCanGrant {
  return { bus, read, write: [], as: 'socket', when: undefined };
}

export const allGrants: StoredGrants = {
  can: [canRead('can0', '100:700')],
  signals: ['read:Vehicle.Speed', 'read:Vehicle.Chassis'],
  cameras: [{ name: 'front', maxFps: 10 }],
  offload: { tasks: ['dashcam-filter'], maxBudgetMs: 500 },
};

export const noGrants: StoredGrants = { can: [], signals: [], cameras: [], offload: undefined };

export function workload(name: string, grants: StoredGrants): Workload {
  return workloadOf({ name, priority: 700, grants: readGrants(grants) });
}

/** One OBU without containers: gateways on real Unix sockets, with everything behind them driven by hand. */
export class HandObu {
  readonly bus = new HandBus();
  readonly signals: HandSignals;
  readonly camera = new HandCamera();
  readonly offloader = new HandOffloader();
  readonly failures: { workload: string; error: KerbError }[] = [];
  readonly denied: string[] = [];
  readonly dropped = { can: 0, pictures: 0, signals: 0 };
  readonly router = new CanRouter(this.bus);
  readonly #gateways: Gateway[] = [];
  readonly #folder: Promise<string> = mkdtemp(join(tmpdir(), 'kerb-gw-'));

  /** @param leaves further leaves, as lines of a VSS file */
  constructor(leaves?: string) {
    this.signals = new HandSignals(leaves);
  }

  async serve(one: Workload, options?: GatewayOptions): Promise<{ path: string; gateway: Gateway }> {
    this.router.start();
    const meter: GatewayMeter = {
      canDropped: () => this.dropped.can++,
      canDenied: (name, reason) => this.denied.push(`${name} ${reason}`),
      pictureDropped: () => this.dropped.pictures++,
      signalLatency: () => {},
      signalsDropped: (_, count) => {
        this.dropped.signals += count;
      },
      offloadStarted: () => {},
      offloadDone: () => {},
      offloadFailed: () => {},
      failure: (name, error) => this.failures.push({ workload: name, error }),
    };
    const folder = join(await this.#folder, one.name);
    await mkdir(folder, { recursive: true });
    const path = join(folder, 'gateway.sock');
    const gateway = new Gateway(
      one,
      path,
      {
        vehicle: 'car',
        obu: 'obu-1',
        offers: {
          routers: new Map([['can0', this.router]]),
          signals: this.signals,
          cameras: new Map([['front', this.camera]]),
          tasks: new Map([['dashcam-filter', DIGEST]]),
        },
        offloader: this.offloader,
        meter,
        log: silentLog(),
      },
      options,
    );
    this.#gateways.push(gateway);
    await gateway.start();
    return { path, gateway };
  }

  async close(): Promise<void> {
    for (const gateway of this.#gateways) await gateway.stop();
    await rm(await this.#folder, { recursive: true, force: true });
  }
}

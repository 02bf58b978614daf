import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import type { RemoteApi } from '../../shared/api/remote-api.ts';
import type { ObuStatus, WorkloadStatus } from '../../shared/api/status.ts';
import { reasonOf } from '../../shared/can/bus.ts';
import type { IdentityWatch } from '../../shared/identity/identity-watch.ts';
import type { ObuBus } from '../can/buses.ts';
import type { ClockFloor } from '../config/clock-floor.ts';
import type { ObuConfig } from '../config/config.ts';
import { identityStatus } from '../config/identity.ts';
import type { ManagedCamera } from '../dashcam/start.ts';
import type { Engine } from '../engine/docker-client.ts';
import type { Workload } from '../manifest/workload.ts';
import type { Offloader } from '../offload/offloader.ts';
import { dueMs } from '../planner/due.ts';
import type { LastLines } from '../resources/last-lines.ts';
import type { SignalStore } from '../signals/signal-store.ts';
import type { OffloadMeter } from '../telemetry/offload-meter.ts';
import type { Reconciler } from '../workloads/reconciler.ts';
import { displacers } from './situation.ts';

const MAX_WARNINGS = 100;

/** The parts that the status is read from. */
export interface StatusSources {
  readonly config: ObuConfig;
  readonly startedAt: string;
  /** Undefined: the configuration names no identity. */
  readonly identity: IdentityWatch | undefined;
  /** Undefined: the API is for this machine only. */
  readonly remoteApi: RemoteApi | undefined;
  readonly clock: ClockFloor;
  readonly engine: Engine;
  readonly buses: readonly ObuBus[];
  readonly signals: SignalStore;
  readonly cameras: readonly ManagedCamera[];
  readonly reconciler: Reconciler;
  readonly lines: LastLines;
  readonly offloads: OffloadMeter;
  readonly offloader: Offloader;
  readonly errors: RecentErrors;
}

/** The OBU of this moment, for `GET /v1/status`. */
export function readStatus(sources: StatusSources): ObuStatus {
  const { config, engine, signals, reconciler, lines } = sources;
  return {
    vehicle: config.vehicle,
    obu: config.obu,
    startedAt: sources.startedAt,
    ...(sources.identity && { identity: identityStatus(sources.identity) }),
    ...(sources.remoteApi && { api: sources.remoteApi.status }),
    clock: sources.clock.state,
    engine: { kind: engine.kind, host: engine.host, version: engine.version, fault: reconciler.engineFault },
    resources: resourcesOf(reconciler),
    buses: sources.buses.map(({ config: { name, bitrate }, bus, meter }) => ({
      name,
      kind: bus.kind,
      state: bus.state.state,
      reason: reasonOf(bus.state),
      framesPerSecond: meter.framesPerSecond,
      load: meter.load,
      bitrate,
      frames: bus.stats.framesReceived + bus.stats.framesSent,
      dropped: bus.stats.framesDropped,
      errorFrames: bus.stats.errorFrames,
    })),
    signals: {
      paths: signals.paths().length,
      withValue: signals.withValue,
      stale: signals.stale,
      invalid: signals.invalid,
      ignored: signals.ignored,
      warnings: signals.warnings.slice(0, MAX_WARNINGS),
      warningCount: signals.warnings.length,
      ...(signals.gpsd && { gpsd: signals.gpsd }),
    },
    cameras: sources.cameras.map(({ camera, recording }) => {
      const { state, ...status } = camera.status();
      const reason = state.state === 'Failed' ? state.reason : '';
      return { ...status, state: state.state, reason, recording: recording() };
    }),
    workloads: reconciler.desired.map(({ workload }) => workloadStatus(workload, reconciler, lines)),
    offloads: sources.offloads.status(),
    places: sources.offloader.places(),
    errors: sources.errors.list(),
  };
}

export function workloadStatus(
  { name, image, priority }: Workload,
  reconciler: Reconciler,
  lines: LastLines,
): WorkloadStatus {
  const state = reconciler.state(name);
  const displacedBy = displacers(reconciler, name);
  const running = reconciler.containers.findLast((one) => one.workload === name && one.state === 'running');
  const due = dueMs(state, reconciler.memory(name), reconciler.nowMs, running?.startedAtMs);
  return {
    name,
    image,
    priority,
    ...state,
    ...(displacedBy.length > 0 && { displacedBy }),
    ...(due !== undefined && { dueMs: Math.round(due) }),
    restarts: reconciler.restarts(name),
    lastLine: lines.of(name),
  };
}

function resourcesOf({ resources }: Reconciler): ObuStatus['resources'] {
  const { total, reserve, used, pressure } = resources;
  return {
    memory: { total: total.memory, reserved: reserve.memory, used: used.memory },
    cpus: { total: total.cpus, reserved: reserve.cpus, used: used.cpus },
    pressure,
  };
}

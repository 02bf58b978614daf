/** Starts what runs the workloads: the engine, and all that watches and moves containers. */
import { rm } from 'node:fs/promises';
import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { freshOf, type SignalSource } from '../../shared/vss/signal.ts';
import { ContainerInterfaces, type ContainerInterfacesParts } from '../can-interface/container-interface.ts';
import type { ObuConfig } from '../config/config.ts';
import type { StateLayout } from '../config/state-layout.ts';
import { type Engine, engineMessage } from '../engine/docker-client.ts';
import { findEngine } from '../engine/find-engine.ts';
import { PrivateEngine } from '../engine/private-engine.ts';
import { EngineWatch } from '../engine/watch.ts';
import type { Gateways } from '../gateway/gateways.ts';
import { capacityOf, memoryLeftFor } from '../planner/resources/capacity.ts';
import type { Desired, ReconcilerStore } from '../planner/state.ts';
import { CpuUse } from '../resources/cpu-use.ts';
import { DataWatch } from '../resources/data-watch.ts';
import { GroupWatch } from '../resources/group-watch.ts';
import { LastLines } from '../resources/last-lines.ts';
import { PressureLevels, readPressure, withGroup } from '../resources/pressure.ts';
import { type CgroupInfo, WorkloadGroup } from '../resources/workload-group.ts';
import { StepRunner } from './executors.ts';
import { Reconciler } from './reconciler.ts';
import type { WorkloadObserver } from './reconciler-parts.ts';
import { removeAllContainers } from './remove-all.ts';
import { VolatileRecordStore } from './volatile-record-store.ts';

const CGROUPS = '/sys/fs/cgroup';

/** Starts a part so that a stop in the middle takes it back too. */
export type Begin = (
  name: string,
  stop: () => Promise<void> | void,
  start: () => Promise<void> | void,
) => Promise<void>;

export interface WorkloadParts {
  readonly config: ObuConfig;
  readonly wanted: readonly Desired[];
  readonly layout: StateLayout;
  readonly gateways: Gateways;
  readonly signals: SignalSource;
  /** By the names that grants use. */
  readonly buses: ReadonlyMap<string, CanBus>;
  /** Default: memory that ends with the process. */
  readonly store?: ReconcilerStore;
  readonly errors: RecentErrors;
  /** A workload did what it may not, and was kept from it. */
  readonly onFault: (workload: string, error: KerbError) => void;
  /** What containers with a CAN interface were not allowed to send. */
  readonly denials?: ContainerInterfacesParts['denials'];
  readonly observer?: WorkloadObserver;
  readonly log: Logger;
  readonly begin: Begin;
  /** Makes stopping quick instead of gentle. */
  readonly hurry: AbortSignal | undefined;
}

/** @throws KerbError EngineUnavailable */
export async function startWorkloads(parts: WorkloadParts) {
  const { config, layout: places, gateways, signals, begin, errors } = parts;
  const { runtime } = config;
  const log = parts.log.child({ part: 'engine' });
  const { engine, own } = await startEngine(parts);
  const owner = `${config.obu}/${places.stateHash}`;
  const machine = await machineOf(engine);
  const resources = {
    total: { memory: runtime.capacity.memory ?? machine.MemTotal, cpus: runtime.capacity.cpus ?? machine.NCPU },
    reserve: runtime.reserve,
    undeclared: runtime.undeclared,
  };
  const group = new WorkloadGroup({
    ...{ stateHash: places.stateHash, info: machine, memory: capacityOf(resources).memory },
    root: engine.host.startsWith('unix://') ? CGROUPS : undefined,
  });
  const groupWatch = new GroupWatch(group, parts.onFault, log);
  const wanted = () => reconciler.desired.map(({ workload }) => workload);
  const interfaces = new ContainerInterfaces({
    ...{ owner, local: engine.host.startsWith('unix://'), buses: parts.buses, log: parts.log.child({ part: 'can' }) },
    pidOf: async (container) => (await engine.calls.getContainer(container).inspect()).State.Pid,
    onTrouble: (workload, { code, message }) => errors.add(`workload ${workload}`, code, message),
    denials: parts.denials,
  });
  const runner = new StepRunner({
    ...{ engine, gateways, interfaces, owner, stateHash: places.stateHash, data: places.data, log },
    group: group.parent,
    memoryLeft: (workload) => memoryLeftFor(workload, wanted(), resources),
    namePrefix: `kerbside-${config.obu}-${places.stateHash.slice(0, 6)}-`,
  });
  const dataWatch = new DataWatch({
    ...{ data: places.data, workloads: wanted, ...runtime.data, log },
    onChange: () => reconciler.trigger(),
  });
  const lines = new LastLines(engine, log);
  const cpuUse = new CpuUse((container) => group.cpuSeconds(container));
  const reconciler = new Reconciler({
    ...{ engine, owner, stateHash: places.stateHash, runner, store: parts.store ?? new VolatileRecordStore(), log },
    desired: parts.wanted,
    resources,
    pressure: new PressureLevels(runtime.pressure),
    readPressure: engine.host.startsWith('unix://')
      ? () => withGroup(readPressure(), group.memoryPressure())
      : undefined,
    readCpuUse: (running) => cpuUse.measure(running, performance.now()),
    has: new Set([
      ...config.cameras.map(({ name }) => `camera/${name}`),
      ...config.buses.map(({ name }) => `bus/${name}`),
    ]),
    parked: () => ({
      condition: runtime.parked.text,
      holds: runtime.parked.holds(freshOf(signals)),
    }),
    held: () => dataWatch.held,
    observer: parts.observer,
    onRunning: (running) => {
      lines.follow(running);
      groupWatch.follow(running);
    },
    beforeRemove: (container) => lines.readLast(container.workload, container.id),
    onFailure: (workload, reason) => errors.add(`workload ${workload}`, ErrorCode.ContainerFailed, reason),
    seed: Math.random(),
    onEngineFault: (reason) => errors.add('engine', ErrorCode.EngineUnavailable, reason),
  });
  const watch = new EngineWatch({
    ...{ engine, owner, log },
    onContainer: (id) => reconciler.hear(id),
    onImage: () => reconciler.hearOfImages(),
    onGap: () => reconciler.lookAtAll(),
    onEngineEnd: () => reconciler.engineEnded(true),
  });
  if (own?.isFresh) reconciler.engineEnded(false);
  if (own !== undefined) {
    own.onEnd = () => {
      group.sweep();
      reconciler.engineEnded(true);
    };
  }
  await begin(
    'last lines',
    () => lines.stop(),
    () => {},
  );
  await begin(
    'control groups',
    () => groupWatch.stop(),
    () => groupWatch.start(),
  );
  await begin(
    'CAN interfaces of containers',
    () => (keepsContainers(config, engine) ? interfaces.leave() : interfaces.stop()),
    () => interfaces.start(),
  );
  await begin(
    'containers',
    async () => {
      if (keepsContainers(config, engine)) return;
      await removeAllContainers(engine, owner, runner, parts.hurry);
      // Nobody has them mounted any more, whoever made them.
      await rm(places.gateways, { recursive: true, force: true });
    },
    () => {
      if (runtime.onStop === 'keep' && engine.kind === 'private') {
        log.warn('onStop: keep has no effect with a private engine, whose containers end with the OBU');
      }
    },
  );
  await begin(
    'data folders',
    () => dataWatch.stop(),
    () => dataWatch.start(),
  );
  await begin(
    'reconciler',
    () => reconciler.stop(),
    () => reconciler.start(),
  );
  await begin(
    'engine watch',
    () => watch.stop(),
    () => watch.start(),
  );
  return { engine, lines, reconciler, interfaces, dataWatch };
}

async function machineOf(engine: Engine): Promise<CgroupInfo & { readonly NCPU: number; readonly MemTotal: number }> {
  try {
    return (await engine.calls.info()) as { NCPU: number; MemTotal: number };
  } catch (error) {
    const message = `the Docker Engine at ${engine.host} does not say what its machine has: ${engineMessage(error)}`;
    throw new KerbError(ErrorCode.EngineUnavailable, message, { host: engine.host }, { cause: error });
  }
}

/** A private engine ends with the OBU, so its containers are stopped as gently as they can be. */
function keepsContainers({ runtime }: ObuConfig, { kind }: Engine): boolean {
  return runtime.onStop === 'keep' && kind === 'external';
}

/** @returns the engine, and when it is the OBU's own, what runs it */
async function startEngine({ layout: places, log, errors, begin, hurry }: WorkloadParts): Promise<{
  readonly engine: Engine;
  readonly own: PrivateEngine | undefined;
}> {
  const found = await findEngine(log);
  if (found !== undefined) {
    log.info({ url: found.host, version: found.version }, 'using the Docker Engine');
    return { engine: found, own: undefined };
  }
  const own = new PrivateEngine(places, log, ({ code, message }) => errors.add('engine', code, message));
  let engine: Engine | undefined;
  await begin(
    'private engine',
    () => own.stop(hurry),
    async () => {
      engine = await own.start();
    },
  );
  return { engine: engine!, own };
}

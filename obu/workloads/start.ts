/** Starts what runs the workloads: the engine, and all that watches and moves containers. */
import { rm } from 'node:fs/promises';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { RunningParts } from '../../shared/base/running-parts.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { freshOf, type SignalSource } from '../../shared/vss/signal.ts';
import { ContainerInterfaces } from '../can-interface/container-interface.ts';
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
import type { Report } from '../telemetry/report.ts';
import { StepRunner } from './executors.ts';
import { Reconciler } from './reconciler.ts';
import { removeAllContainers } from './remove-all.ts';
import { VolatileRecordStore } from './volatile-record-store.ts';

const CGROUPS = '/sys/fs/cgroup';

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
  readonly report: Report;
  readonly log: Logger;
  /** Where the parts are begun. */
  readonly running: RunningParts;
  /** Makes stopping quick instead of gentle. */
  readonly hurry: AbortSignal | undefined;
}

/** @throws KerbError EngineUnavailable */
export async function startWorkloads(parts: WorkloadParts) {
  const { running } = parts;
  const { engine, own } = await startEngine(parts);
  const made = makeParts(parts, engine, await machineOf(engine));
  const { group, groupWatch, interfaces, dataWatch, lines, reconciler, engineWatch } = made;
  if (own?.isFresh) reconciler.engineEnded(false);
  if (own !== undefined) {
    own.onEnd = () => {
      group.sweep();
      reconciler.engineEnded(true);
    };
  }
  const keeps = keepsContainers(parts.config, engine);
  await running.begin('last lines', lines);
  await running.begin('control groups', groupWatch);
  await running.begin('CAN interfaces of containers', {
    start: () => interfaces.start(),
    stop: () => (keeps ? interfaces.leave() : interfaces.stop()),
  });
  await running.begin('containers', { stop: () => (keeps ? undefined : removeContainers(parts, engine, made)) });
  await running.begin('data folders', dataWatch);
  await running.begin('reconciler', reconciler);
  await running.begin('engine watch', engineWatch);
  return { engine, lines, reconciler, interfaces, dataWatch };
}

/** What runs the workloads, not yet started. */
function makeParts(parts: WorkloadParts, engine: Engine, machine: Machine) {
  const { config, layout, gateways, report } = parts;
  const { runtime } = config;
  const log = parts.log.child({ part: 'engine' });
  const owner = ownerOf(parts);
  const resources = {
    total: { memory: runtime.capacity.memory ?? machine.MemTotal, cpus: runtime.capacity.cpus ?? machine.NCPU },
    reserve: runtime.reserve,
    undeclared: runtime.undeclared,
  };
  const { stateHash } = layout;
  const memory = capacityOf(resources).memory;
  const group = new WorkloadGroup({ stateHash, info: machine, memory, root: isLocal(engine) ? CGROUPS : undefined });
  const groupWatch = new GroupWatch(group, report, log);
  const interfaces = makeInterfaces(parts, engine);
  const wanted = () => reconciler.desired.map(({ workload }) => workload);
  const runner = new StepRunner({
    engine,
    gateways,
    interfaces,
    owner,
    stateHash,
    data: layout.data,
    group: group.parent,
    memoryLeft: (workload) => memoryLeftFor(workload, wanted(), resources),
    namePrefix: `kerbside-${config.obu}-${stateHash.slice(0, 6)}-`,
    log,
  });
  const onChange = () => reconciler.trigger();
  const dataWatch = new DataWatch({ ...runtime.data, data: layout.data, workloads: wanted, onChange, log });
  const lines = new LastLines(engine, log);
  const reconciler: Reconciler = new Reconciler({
    ...{ engine, owner, stateHash, runner, resources, report, log },
    ...plannerSources(parts, engine, group),
    desired: parts.wanted,
    store: parts.store ?? new VolatileRecordStore(),
    held: () => dataWatch.held,
    onRunning: (running) => {
      lines.follow(running);
      groupWatch.follow(running);
    },
    beforeRemove: (container) => lines.readLast(container.workload, container.id),
  });
  const engineWatch = makeEngineWatch(engine, owner, reconciler, log);
  return { group, groupWatch, interfaces, runner, dataWatch, lines, reconciler, engineWatch };
}

/** What the planner goes by besides the engine: what is measured, what this OBU has, and whether the vehicle is parked. */
function plannerSources({ config, signals }: WorkloadParts, engine: Engine, group: WorkloadGroup) {
  const { runtime, cameras, buses } = config;
  const cpuUse = new CpuUse((container) => group.cpuSeconds(container));
  return {
    pressure: new PressureLevels(runtime.pressure),
    readPressure: isLocal(engine) ? () => withGroup(readPressure(), group.memoryPressure()) : undefined,
    readCpuUse: (running: ReadonlyMap<string, string>) => cpuUse.measure(running, performance.now()),
    has: new Set([...cameras.map(({ name }) => `camera/${name}`), ...buses.map(({ name }) => `bus/${name}`)]),
    parked: () => ({ condition: runtime.parked.text, holds: runtime.parked.holds(freshOf(signals)) }),
    seed: Math.random(),
  };
}

function makeInterfaces(parts: WorkloadParts, engine: Engine): ContainerInterfaces {
  return new ContainerInterfaces({
    owner: ownerOf(parts),
    local: isLocal(engine),
    buses: parts.buses,
    pidOf: async (container) => (await engine.calls.getContainer(container).inspect()).State.Pid,
    report: parts.report,
    log: parts.log.child({ part: 'can' }),
  });
}

function makeEngineWatch(engine: Engine, owner: string, reconciler: Reconciler, log: Logger): EngineWatch {
  return new EngineWatch({
    engine,
    owner,
    onContainer: (id) => reconciler.hear(id),
    onImage: () => reconciler.hearOfImages(),
    onGap: () => reconciler.lookAtAll(),
    onEngineEnd: () => reconciler.engineEnded(true),
    log,
  });
}

async function removeContainers(
  parts: WorkloadParts,
  engine: Engine,
  { runner }: { readonly runner: StepRunner },
): Promise<void> {
  await removeAllContainers(engine, ownerOf(parts), runner, parts.hurry);
  // Nobody has them mounted any more, whoever made them.
  await rm(parts.layout.gateways, { recursive: true, force: true });
}

function ownerOf({ config, layout }: WorkloadParts): string {
  return `${config.obu}/${layout.stateHash}`;
}

/** Whether its containers are on this machine. */
function isLocal({ host }: Engine): boolean {
  return host.startsWith('unix://');
}

type Machine = CgroupInfo & { readonly NCPU: number; readonly MemTotal: number };

async function machineOf(engine: Engine): Promise<Machine> {
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
async function startEngine({ config, layout, log, report, running, hurry }: WorkloadParts): Promise<{
  readonly engine: Engine;
  readonly own: PrivateEngine | undefined;
}> {
  const found = await findEngine(log);
  if (found !== undefined) {
    log.info({ url: found.host, version: found.version }, 'using the Docker Engine');
    return { engine: found, own: undefined };
  }
  const own = new PrivateEngine(layout, log, report);
  const engine = await running.begin('private engine', { start: () => own.start(), stop: () => own.stop(hurry) });
  if (config.runtime.onStop === 'keep') {
    log
      .child({ part: 'engine' })
      .warn('onStop is keep, but a private engine ends with the OBU, and its containers with it');
  }
  return { engine, own };
}

import type { Logger } from '../../shared/base/log.ts';
import type { Engine } from '../engine/docker-client.ts';
import type { PressureSample } from '../planner/resources/pressure.ts';
import type { Desired, ObservedContainer, PlanInput, ReconcilerStore, Resources } from '../planner/state.ts';
import type { PressureLevels } from '../resources/pressure.ts';
import type { Report } from '../telemetry/report.ts';
import type { StepRunner } from './executors.ts';

export interface ReconcilerParts {
  readonly engine: Engine;
  readonly owner: string;
  /** See Places. */
  readonly stateHash: string;
  readonly desired: readonly Desired[];
  readonly runner: StepRunner;
  readonly store: ReconcilerStore;
  readonly resources: Omit<Resources, 'pressure'>;
  readonly pressure: PressureLevels;
  /** Undefined: nobody measures pressure where the engine is. */
  readonly readPressure: (() => PressureSample) | undefined;
  /** CPUs that each of these uses now, [workload, container id]; undefined when that is not known. */
  readonly readCpuUse: (running: ReadonlyMap<string, string>) => ReadonlyMap<string, number> | undefined;
  /** See PlanInput. */
  readonly has: ReadonlySet<string>;
  readonly parked: () => PlanInput['parked'];
  readonly held: () => PlanInput['held'];
  /** See PlanInput. */
  readonly seed: number;
  /** Called after each look at the engine with the containers that run: [workload, container id]. */
  readonly onRunning: (running: ReadonlyMap<string, string>) => void;
  /** Called before a container is removed, with which its log goes. */
  readonly beforeRemove: (container: ObservedContainer) => Promise<void>;
  readonly report: Report;
  readonly log: Logger;
}

import type { Logger } from '../../shared/base/log.ts';
import type { Engine } from '../engine/docker-client.ts';
import type { PressureSample } from '../planner/resources/pressure.ts';
import type {
  Desired,
  ObservedContainer,
  PlanInput,
  Preempted,
  ReconcilerStore,
  Resources,
  WorkloadState,
} from '../planner/state.ts';
import type { PressureLevels } from '../resources/pressure.ts';
import type { StepRunner } from './executors.ts';

/** Is told what happens to workloads. */
export interface WorkloadObserver {
  /** It has come into this state, or is in it for another reason. */
  onState(workload: string, state: WorkloadState): void;
  /** The OBU begins to do this. */
  onStep(workload: string, step: string, why: string): void;
  /** It has to make room. */
  onPreempted(victim: string, preempted: Preempted): void;
}

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
  /** Called when a workload has failed in a new way. A missing image is a state that lasts, and no event. */
  readonly onFailure: (workload: string, reason: string) => void;
  /** Called when the engine stops doing what it is asked. */
  readonly onEngineFault: (reason: string) => void;
  readonly observer?: WorkloadObserver | undefined;
  readonly log: Logger;
}

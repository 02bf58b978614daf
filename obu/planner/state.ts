import type { Workload } from '../manifest/workload.ts';

/** Memory in bytes and CPUs, which may be a fraction. */
export interface Claim {
  readonly memory: number;
  readonly cpus: number;
}

export interface Resources {
  /** The whole machine. */
  readonly total: Claim;
  /** Kept for the OBU itself, its engine and the system. */
  readonly reserve: Claim;
  /** The claim of a workload that declares no limit. */
  readonly undeclared: Claim;
  /** How far up the ladder measured pressure has led, see pressure.ts; 0: there is none. */
  readonly pressure: { readonly memory: number; readonly cpu: number };
}

/** The state of a container, in the Docker Engine's words. */
export type ContainerState = 'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead';

/**
 * A container as the engine shows it. Times in milliseconds of the steady clock (shared/base/clock.ts), 0 when it never
 * happened.
 */
export interface ObservedContainer {
  readonly id: string;
  readonly name: string;
  /** Label: who made it; undefined for containers that no OBU made. */
  readonly owner: string | undefined;
  /** Label: which workload it is. */
  readonly workload: string;
  /** Label: what it was made from, see `configHash`. */
  readonly configHash: string;
  /** Label: key of its gateway, see `gatewayKeys`. */
  readonly gateway: string;
  readonly imageId: string;
  readonly state: ContainerState;
  /** The result of its health check; `none` without one. */
  readonly health: 'none' | 'starting' | 'healthy' | 'unhealthy';
  /** Limits that it was made with, bytes and CPUs; undefined: none. */
  readonly memLimit: number | undefined;
  readonly cpus: number | undefined;
  /** Its share of the CPU against the others', in the engine's unit. */
  readonly cpuShares: number;
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  /** It was ended by the end of the engine, not by itself. */
  readonly endedWithEngine?: boolean;
}

export interface Observed {
  readonly containers: readonly ObservedContainer[];
  /** Id by what images are asked for by, name or id, for the images that are there. */
  readonly images: ReadonlyMap<string, string>;
  /** Image id by workload, for the images that are kept so that there is a version to go back to. */
  readonly kept: ReadonlyMap<string, string>;
  /** Ids of the containers whose gateway is being served. */
  readonly gateways: ReadonlySet<string>;
}

/** A workload with the hash of everything that its container is made from. */
export interface Desired {
  readonly workload: Workload;
  readonly configHash: string;
}

/** One configuration of a workload with one image. */
export interface Version extends Desired {
  readonly imageId: string;
}

/** How a container ended, or why it never began. */
export interface End {
  readonly kind: 'exited' | 'out-of-memory' | 'could-not-start';
  readonly exitCode: number;
  /** The engine's sentence; empty for an exit. */
  readonly message: string;
  readonly atMs: number;
}

/** Preemption mode: how a workload may make room. Outsourcing to a peer will be a third mode. */
export type PreemptionMode = 'freeze' | 'stop';

/** Why a workload does not run although the manifest wants it to: something else needs what it used. */
export interface Preempted {
  readonly how: PreemptionMode;
  /** `capacity`: declared limits do not fit together; else the pressure that was measured. */
  readonly cause: 'capacity' | 'memory-pressure' | 'cpu-pressure';
  /** Workload that it made room for, or the pressure. */
  readonly by: string;
  /** A sentence with the numbers. */
  readonly why: string;
  readonly atMs: number;
  /** Since when there has been room for it again; undefined while there is none. */
  readonly roomSinceMs: number | undefined;
}

/** The record of one workload from one plan to the next. Plain values: it is kept as JSON. */
export interface WorkloadRecord {
  /** The version that runs or is tried; undefined before the first time. The next four are about it. */
  readonly version: Version | undefined;
  /** How often it was started again. */
  readonly restarts: number;
  /** Ends in a row without a good long run between them. */
  readonly failures: number;
  readonly lastEnd: End | undefined;
  /** Container of `lastEnd`, so that one end is counted once. */
  readonly lastContainer: string;
  /** The last version that was healthy, or was up for the settle time. */
  readonly good: Version | undefined;
  /** The version that was wanted, failed, and was rolled back: it is not tried again. */
  readonly bad: { readonly configHash: string; readonly imageId: string; readonly why: string } | undefined;
  /** A person has frozen it, until a person thaws it: milliseconds since 1970, to be read by people. */
  readonly frozenSinceMs: number | undefined;
  readonly preempted: Preempted | undefined;
}

/**
 * Storage of records that outlives the process. `save` is called before a step is carried out that depends on it, and
 * returns when it is safe from a power cut; an entry that is missing from the map is forgotten.
 */
export interface ReconcilerStore {
  load(): ReadonlyMap<string, WorkloadRecord>;
  save(memory: ReadonlyMap<string, WorkloadRecord>): void;
}

/** State word and sub-state, and a sentence that says why. */
export interface WorkloadState {
  readonly state: 'Pending' | 'Running' | 'Frozen' | 'Stopping' | 'Succeeded' | 'Failed';
  readonly detail: string;
  readonly reason: string;
  /** The state of the update; left out when the version that the manifest asks for runs. */
  readonly update?: UpdateState;
  /** So it was before the engine stopped answering; left out: so it is. */
  readonly isOld?: true;
}

/** `handing-over`: the old container runs until the new one is well; `waiting`: for its image, or until parked. */
export type UpdateState = 'handing-over' | 'waiting' | 'rolled-back';

/** The steps to carry out next. */
export type Step =
  | { readonly step: 'create-and-start'; readonly version: Version; readonly gateway: string; readonly why: string }
  /** The container runs and is the right one, but nobody serves its gateway: an OBU before us started it. */
  | { readonly step: 'adopt'; readonly desired: Desired; readonly container: ObservedContainer; readonly why: string }
  | { readonly step: 'stop'; readonly container: ObservedContainer; readonly why: string }
  | { readonly step: 'remove'; readonly container: ObservedContainer; readonly why: string }
  | { readonly step: 'freeze'; readonly container: ObservedContainer; readonly why: string }
  | { readonly step: 'thaw'; readonly container: ObservedContainer; readonly why: string }
  /** Its weights against the others' become those of this priority, or the least there are. */
  | {
      readonly step: 'weigh';
      readonly container: ObservedContainer;
      readonly priority: number;
      readonly throttled: boolean;
      readonly why: string;
    }
  /** From now on nobody's tidying removes this image. */
  | { readonly step: 'keep-image'; readonly workload: string; readonly imageId: string; readonly why: string }
  | { readonly step: 'release-image'; readonly workload: string; readonly why: string }
  | { readonly step: 'refuse-missing-image'; readonly workload: string; readonly image: string; readonly why: string }
  | { readonly step: 'wait'; readonly workload: string; readonly untilMs: number; readonly why: string };

/** Steps that change something, as opposed to those that only say what is being waited for. */
export type Action = Exclude<Step, { step: 'wait' | 'refuse-missing-image' }>;
export type ActionKind = Action['step'];

export interface PlanInput {
  /** Owner label of this OBU; containers of anybody else are not touched. */
  readonly owner: string;
  readonly desired: readonly Desired[];
  readonly observed: Observed;
  /** As the last plan returned it. */
  readonly records: ReadonlyMap<string, WorkloadRecord>;
  readonly resources: Resources;
  /** Steps that are being carried out, or that are done and not yet seen in `observed`. Default: none. */
  readonly inFlight?: readonly Action[];
  /** CPUs that each workload uses now, by name; left out: nobody measures it. */
  readonly cpuUse?: ReadonlyMap<string, number> | undefined;
  /** Devices of this OBU that workloads may require: "camera/front", "bus/can0". */
  readonly has: ReadonlySet<string>;
  /** Workloads that may not run, each with a sentence that says why. */
  readonly held: ReadonlyMap<string, string>;
  /** The condition under which the vehicle counts as parked, and whether it holds. */
  readonly parked: { readonly condition: string; readonly holds: boolean };
  /** Any number; OBUs with different ones do not start things again at the same moments. */
  readonly seed: number;
  /** Milliseconds of the steady clock: nothing is ever decided by the wall clock. */
  readonly nowMs: number;
}

export interface Plan {
  /** All that is to be done, in an order in which it can be done. */
  readonly steps: readonly Step[];
  /** Of these, what can begin now, side by side; the others wait for room, or for a step in flight. */
  readonly ready: readonly Action[];
  /** By workload name. */
  readonly states: ReadonlyMap<string, WorkloadState>;
  readonly records: ReadonlyMap<string, WorkloadRecord>;
  /** The sum of declared limits once the steps are done. */
  readonly used: Claim;
}

export function isAction(step: Step): step is Action {
  return step.step !== 'wait' && step.step !== 'refuse-missing-image';
}

/** Steps that only take away; they go before what needs the room, and in any order among themselves. */
export function isClearing(step: Step): boolean {
  return step.step === 'stop' || step.step === 'remove' || step.step === 'freeze';
}

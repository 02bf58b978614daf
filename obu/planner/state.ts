import type { Workload } from '../manifest/workload.ts';

/** What a container is doing, in the Docker Engine's words. */
export type ContainerState = 'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead';

/** A container as the engine shows it. Times in milliseconds since 1970, 0 when it never happened. */
export interface ObservedContainer {
  readonly id: string;
  readonly name: string;
  /** Label: who made it; undefined for containers that no OBU made. */
  readonly owner: string | undefined;
  /** Label: which workload it is. */
  readonly workload: string;
  /** Label: what it was made from, see `configHash`. */
  readonly configHash: string;
  readonly imageId: string;
  readonly state: ContainerState;
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
}

export interface Observed {
  readonly containers: readonly ObservedContainer[];
  /** Id by image name, for the images that are there. */
  readonly images: ReadonlyMap<string, string>;
  /** Ids of the containers whose gateway is being served. */
  readonly gateways: ReadonlySet<string>;
}

/** A workload with the hash of everything that its container is made from. */
export interface Desired {
  readonly workload: Workload;
  readonly configHash: string;
}

/** How a container ended, or why it never began. */
export interface End {
  readonly kind: 'exited' | 'out-of-memory' | 'could-not-start';
  readonly exitCode: number;
  /** The engine's sentence; empty for an exit. */
  readonly message: string;
  readonly atMs: number;
}

/** What the planner remembers of one workload from one plan to the next. */
export interface Memory {
  readonly configHash: string;
  /** How often it was started again since the OBU or its configuration is here. */
  readonly restarts: number;
  /** Ends in a row without a good long run between them. */
  readonly failures: number;
  readonly lastEnd: End | undefined;
  /** Container of `lastEnd`, so that one end is counted once. */
  readonly lastContainer: string;
}

/** State word and sub-state of DESIGN section 5, and a sentence that says why. */
export interface WorkloadState {
  readonly state: 'Pending' | 'Running' | 'Frozen' | 'Stopping' | 'Succeeded' | 'Failed';
  readonly detail: string;
  readonly reason: string;
}

/** What is to be done next. Each workload has at most one step that acts in a plan. */
export type Step =
  | { readonly step: 'create-and-start'; readonly desired: Desired; readonly why: string }
  /** The container runs and is the right one, but nobody serves its gateway: an OBU before us started it. */
  | { readonly step: 'adopt'; readonly desired: Desired; readonly container: ObservedContainer; readonly why: string }
  | { readonly step: 'stop'; readonly container: ObservedContainer; readonly why: string }
  | { readonly step: 'remove'; readonly container: ObservedContainer; readonly why: string }
  | { readonly step: 'refuse-missing-image'; readonly workload: string; readonly image: string; readonly why: string }
  | { readonly step: 'wait'; readonly workload: string; readonly untilMs: number; readonly why: string };

/** Steps that change something, as opposed to those that only say what is being waited for. */
export type Action = Exclude<Step, { step: 'wait' | 'refuse-missing-image' }>;
export type ActionKind = Action['step'];

export interface Plan {
  readonly steps: readonly Step[];
  /** By workload name. */
  readonly states: ReadonlyMap<string, WorkloadState>;
  readonly memory: ReadonlyMap<string, Memory>;
}

export function isAction(step: Step): step is Action {
  return step.step !== 'wait' && step.step !== 'refuse-missing-image';
}

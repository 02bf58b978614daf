/** For tests: what a plan is made from, as plain values, and an engine of plain values that does what steps say. */

import type { Workload } from '../../obu/manifest/workload.ts';
import { plan } from '../../obu/planner/plan.ts';
import { claimOf, heldBy, NOTHING, plus } from '../../obu/planner/resources/capacity.ts';
import { weightsOf } from '../../obu/planner/resources/weights.ts';
import { newRecord, rememberStart } from '../../obu/planner/restart.ts';
import type { Claim, Resources } from '../../obu/planner/state.ts';
import {
  type Action,
  type Desired,
  isAction,
  type ObservedContainer,
  type Plan,
  type PlanInput,
  type Step,
  type WorkloadRecord,
} from '../../obu/planner/state.ts';
import { workloadOf } from './workload.ts';

export const OWNER = 'obu-1/abc';
export const NOW = 1_000_000;
export const MIB = 2 ** 20;
export const SEED = 1;

export function desired(name: string, extra: Partial<Workload> = {}, configHash = `hash-${name}`): Desired {
  const workload = workloadOf({ name, image: `${name}:1`, restart: { policy: 'always' }, ...extra });
  return { workload, configHash };
}

/** The container of a workload with this name: running for a second, and of the right version. */
export function container(workload: string, extra: Partial<ObservedContainer> = {}): ObservedContainer {
  return {
    id: `id-${workload}`,
    name: `kerbside-${workload}`,
    owner: OWNER,
    workload,
    configHash: `hash-${workload}`,
    gateway: workload,
    imageId: `image-${workload}`,
    state: 'running',
    health: 'none',
    memLimit: undefined,
    cpus: undefined,
    cpuShares: weightsOf(500).cpuShares,
    exitCode: 0,
    oomKilled: false,
    startedAtMs: NOW - 1000,
    finishedAtMs: 0,
    ...extra,
  };
}

/** The container of this workload, with its limits and its weight. */
export function containerOf(
  { workload, configHash }: Desired,
  extra: Partial<ObservedContainer> = {},
): ObservedContainer {
  const { name, memLimit, cpus, priority } = workload;
  return container(name, { configHash, memLimit, cpus, cpuShares: weightsOf(priority).cpuShares, ...extra });
}

export interface Scene {
  readonly desired?: readonly Desired[];
  readonly containers?: readonly ObservedContainer[];
  readonly images?: readonly (readonly [string, string])[];
  readonly kept?: readonly (readonly [string, string])[];
  readonly gateways?: readonly string[];
  readonly memory?: ReadonlyMap<string, WorkloadRecord>;
  readonly capacity?: Claim;
  readonly pressure?: Resources['pressure'];
  readonly has?: readonly string[];
  readonly held?: readonly (readonly [string, string])[];
  readonly parked?: boolean;
  readonly nowMs?: number;
  readonly inFlight?: readonly Action[];
  readonly cpuUse?: ReadonlyMap<string, number>;
}

export function inputOf(scene: Scene): PlanInput {
  const wanted = scene.desired ?? [desired('a')];
  const containers = scene.containers ?? [];
  return {
    owner: OWNER,
    desired: wanted,
    observed: {
      containers,
      images: new Map(scene.images ?? wanted.map((one) => [one.workload.image, `image-${one.workload.name}`])),
      kept: new Map(scene.kept ?? wanted.map(({ workload }) => [workload.name, `image-${workload.name}`])),
      gateways: new Set(scene.gateways ?? containers.map(({ id }) => id)),
    },
    records: scene.memory ?? new Map(),
    resources: {
      total: scene.capacity ?? { memory: 1e12, cpus: 1000 },
      reserve: NOTHING,
      undeclared: { memory: 64 * MIB, cpus: 0.1 },
      pressure: scene.pressure ?? { memory: 0, cpu: 0 },
    },
    has: new Set(scene.has ?? []),
    held: new Map(scene.held),
    parked: { condition: 'Vehicle.Speed == 0', holds: scene.parked ?? true },
    seed: SEED,
    nowMs: scene.nowMs ?? NOW,
    inFlight: scene.inFlight ?? [],
    cpuUse: scene.cpuUse,
  };
}

export const planOf = (scene: Scene): Plan => plan(inputOf(scene));

export const memoryOf = (name: string, extra: Partial<WorkloadRecord>): ReadonlyMap<string, WorkloadRecord> =>
  new Map([[name, { ...newRecord, ...extra }]]);

/** "stop id-a", "create-and-start b". */
export const kinds = (steps: readonly Step[]): string[] =>
  steps.map((step) => {
    if (step.step === 'create-and-start') return `${step.step} ${step.version.workload.name}`;
    return 'container' in step ? `${step.step} ${step.container.id}` : `${step.step} ${step.workload}`;
  });

/** An engine that obeys, with a clock that stands still while there is something to do. */
export class ObedientEngine {
  containers: ObservedContainer[];
  desired: readonly Desired[];
  memory: ReadonlyMap<string, WorkloadRecord> = new Map();
  capacity: Claim;
  nowMs = NOW;
  /** Steps that were begun and are not done. */
  inFlight: readonly Action[] = [];
  #made = 0;
  readonly #gateways = new Set<string>();
  readonly #kept = new Map<string, string>();
  readonly #check: ((engine: ObedientEngine, step: Step) => void) | undefined;

  /** @param check called after each step */
  constructor(
    scene: Required<Pick<Scene, 'desired' | 'containers'>> & Pick<Scene, 'capacity'>,
    check?: (engine: ObedientEngine, step: Step) => void,
  ) {
    this.containers = [...scene.containers];
    this.desired = scene.desired;
    this.capacity = scene.capacity ?? { memory: 1e12, cpus: 1000 };
    this.#check = check;
  }

  input(): PlanInput {
    const { desired: wanted, containers, memory, nowMs, capacity, inFlight } = this;
    const scene = { desired: wanted, containers, memory, nowMs, capacity, inFlight };
    return inputOf({ ...scene, gateways: [...this.#gateways], kept: [...this.#kept] });
  }

  held(): Claim {
    const { undeclared } = this.input().resources;
    return this.containers
      .filter(({ owner }) => owner === OWNER)
      .map((one) => heldBy(one, undeclared))
      .reduce(plus, NOTHING);
  }

  claim(one: Desired): Claim {
    return claimOf(one.workload, this.input().resources.undeclared);
  }

  /** Plans and obeys once; the clock goes on when there is only something to wait for. @returns the plan */
  round(): Plan {
    const next = plan(this.input());
    this.memory = next.records;
    const waits = next.steps.flatMap((step) => (step.step === 'wait' ? [step.untilMs] : []));
    if (!next.steps.some(isAction) && waits.length > 0) this.nowMs = Math.max(this.nowMs, Math.min(...waits));
    for (const step of next.steps) {
      this.#obey(step);
      this.#check?.(this, step);
    }
    return next;
  }

  /** Rounds until there is nothing to do or to wait for. @throws Error when that does not come */
  settle(rounds: number): Plan {
    for (let round = 0; round < rounds; round++) {
      const next = this.round();
      if (next.steps.length === 0 || next.steps.every(({ step }) => step === 'refuse-missing-image')) return next;
    }
    throw new Error('did not settle');
  }

  /** Plans and begins what can begin, of which nothing is done yet; the clock goes on as in `round`. @returns the plan */
  begin(): Plan {
    const next = plan(this.input());
    this.memory = next.records;
    const waits = next.steps.flatMap((step) => (step.step === 'wait' ? [step.untilMs] : []));
    if (this.inFlight.length + next.ready.length === 0 && waits.length > 0)
      this.nowMs = Math.max(this.nowMs, Math.min(...waits));
    this.inFlight = [...this.inFlight, ...next.ready];
    return next;
  }

  /** One of the steps that were begun is done. */
  finish(index: number): void {
    const step = this.inFlight[index]!;
    this.inFlight = this.inFlight.filter((one) => one !== step);
    this.#obey(step);
    this.#check?.(this, step);
  }

  /** Something happens to what runs of a workload. */
  change(workload: string, change: Partial<ObservedContainer>): void {
    for (const one of this.containers) {
      if (one.workload === workload && one.state === 'running') this.#change(one.id, change);
    }
  }

  #obey(step: Step): void {
    switch (step.step) {
      case 'create-and-start': {
        const { workload } = step.version;
        const id = `made-${workload.name}-${this.#made++}`;
        const { configHash, imageId } = step.version;
        const made = { id, imageId, gateway: step.gateway, startedAtMs: this.nowMs };
        this.containers.push(containerOf({ workload, configHash }, made));
        this.#gateways.add(id);
        const known = this.memory.get(workload.name); // unless the manifest has dropped it in the meantime
        if (known !== undefined) this.memory = new Map(this.memory).set(workload.name, rememberStart(known));
        break;
      }
      case 'stop':
        this.#changeFrom('running', step.container.id, { state: 'exited', exitCode: 137, finishedAtMs: this.nowMs });
        this.#changeFrom('paused', step.container.id, { state: 'exited', exitCode: 137, finishedAtMs: this.nowMs });
        break;
      case 'remove':
        this.containers = this.containers.filter(({ id }) => id !== step.container.id);
        break;
      // As an engine does: who has ended can be neither frozen nor thawed.
      case 'freeze':
        this.#changeFrom('running', step.container.id, { state: 'paused' });
        break;
      case 'thaw':
        this.#changeFrom('paused', step.container.id, { state: 'running' });
        break;
      case 'weigh':
        this.#change(step.container.id, weightsOf(step.priority, step.throttled));
        break;
      case 'adopt':
        this.#gateways.add(step.container.id);
        break;
      case 'keep-image':
        this.#kept.set(step.workload, step.imageId);
        break;
      case 'release-image':
        this.#kept.delete(step.workload);
    }
  }

  #changeFrom(state: ObservedContainer['state'], id: string, change: Partial<ObservedContainer>): void {
    if (this.containers.some((one) => one.id === id && one.state === state)) this.#change(id, change);
  }

  #change(id: string, change: Partial<ObservedContainer>): void {
    this.containers = this.containers.map((one) => (one.id === id ? { ...one, ...change } : one));
  }
}

/**
 * Steps that are being carried out. The planner is asked again on every event, so it has to know what is on its way: it
 * plans for the time when these steps are done, and says which of the further ones can begin already.
 */
import { capacityOf, claimOf, fits, heldBy, minus, plus, sumOf } from './resources/capacity.ts';
import type { Claim } from './state.ts';
import { type Action, isAction, isClearing, type ObservedContainer, type PlanInput, type Step } from './state.ts';

/** Applies the steps in flight to the input of the planner. */
export interface Underway {
  /** Containers that are being stopped or removed: what they hold is free when that is done. */
  readonly going: ReadonlySet<string>;
  readonly thawing: ReadonlySet<string>;
  /** Workloads of which nothing can be taken before a step of theirs is done. */
  readonly busy: ReadonlySet<string>;
  /** Why a container is on its way, by id. */
  readonly why: ReadonlyMap<string, string>;
}

/** The input of a plan, as it will be when the steps in flight are done. */
export interface PlanView extends PlanInput {
  readonly underway: Underway;
}

/** Id of a container that is being made: no real one has a space in it. */
const MADE = 'being made: ';

export const isBeingMade = ({ id }: ObservedContainer): boolean => id.startsWith(MADE);

type CreateStep = Extract<Action, { step: 'create-and-start' }>;

/** Resources that only one step at a time may use: a container, the gateway of a workload's container, a kept image. */
export function reservesOf(action: Action): readonly string[] {
  switch (action.step) {
    case 'create-and-start':
      return [`gateway ${action.version.workload.name} ${action.gateway}`];
    case 'keep-image':
    case 'release-image':
      return [`image ${action.workload}`];
    default: {
      const { id, workload, gateway } = action.container;
      return [`container ${id}`, `gateway ${workload} ${gateway}`];
    }
  }
}

/** The workload that a step is about. */
export function workloadOf(action: Action): string {
  switch (action.step) {
    case 'create-and-start':
      return action.version.workload.name;
    case 'keep-image':
    case 'release-image':
      return action.workload;
    default:
      return action.container.workload;
  }
}

export function viewOf(input: PlanInput): PlanView {
  const inFlight = input.inFlight ?? [];
  const ofContainer = new Map(inFlight.flatMap((one) => ('container' in one ? [[one.container.id, one]] : [])));
  const made = inFlight.filter((one): one is CreateStep => one.step === 'create-and-start');
  const going = new Set<string>();
  const thawing = new Set<string>();
  const why = new Map(made.map((one) => [MADE + one.gateway, one.why]));
  const gateways = new Set(input.observed.gateways);
  const containers = input.observed.containers.flatMap((one): ObservedContainer[] => {
    if (isMadeBy(one, made)) return [];
    const step = ofContainer.get(one.id);
    if (step !== undefined) why.set(one.id, step.why);
    switch (step?.step) {
      case 'remove':
        // An ended container was counted when its removal was planned.
        if (one.state === 'created' || one.state === 'exited' || one.state === 'dead') return [];
        going.add(one.id);
        return [{ ...one, state: 'removing' }];
      case 'stop':
        // It has ended in the meantime, but the engine is not done with it.
        going.add(one.id);
        return [{ ...one, state: 'removing' }];
      case 'freeze':
        return [one.state === 'running' ? { ...one, state: 'paused' } : one];
      case 'thaw':
        if (one.state === 'paused') thawing.add(one.id);
        return [one];
      case 'adopt':
        gateways.add(one.id);
        return [one];
      default:
        return [one];
    }
  });
  const kept = new Map(input.observed.kept);
  for (const one of inFlight) {
    if (one.step === 'keep-image') kept.set(one.workload, one.imageId);
    if (one.step === 'release-image') kept.delete(one.workload);
  }
  const isShort = ({ step }: Action) => step !== 'stop' && step !== 'remove' && !step.endsWith('-image');
  return {
    ...input,
    observed: {
      ...input.observed,
      containers: [...containers, ...made.map((one) => beingMade(one, input))],
      gateways,
      kept,
    },
    underway: { going, thawing, why, busy: new Set(inFlight.filter(isShort).map(workloadOf)) },
  };
}

/** The claim of a container once the steps in flight are done. */
export function heldIn(container: ObservedContainer, { underway, resources }: PlanView): Claim {
  if (underway.going.has(container.id)) return { memory: 0, cpus: 0 };
  if (underway.thawing.has(container.id)) return claimOf(container, resources.undeclared);
  return heldBy(container, resources.undeclared);
}

/**
 * The steps that can begin now: those which have in hand what no step in flight has, and find the room that they need.
 * Room that is still being made is not there yet; who waits for it holds up nobody else.
 * @param steps In the order of the plan: what there is room for in the end, the highest priority first.
 */
export function readySteps(steps: readonly Step[], input: PlanInput): readonly Action[] {
  const reserved = new Set((input.inFlight ?? []).flatMap(reservesOf));
  const ready: Action[] = [];
  let free = freeNow(input);
  for (const step of steps) {
    if (!isAction(step) || ('container' in step && isBeingMade(step.container))) continue;
    const reserves = reservesOf(step);
    if (reserves.some((one) => reserved.has(one))) continue;
    const need = isClearing(step) ? undefined : needOf(step, input);
    if (need !== undefined) {
      if (!fits(need, free)) continue;
      free = minus(free, need);
    }
    for (const one of reserves) reserved.add(one);
    ready.push(step);
  }
  return ready;
}

function needOf(step: Action, { resources: { undeclared } }: PlanInput): Claim | undefined {
  if (step.step === 'create-and-start') return claimOf(step.version.workload, undeclared);
  if (step.step === 'thaw') return { memory: 0, cpus: claimOf(step.container, undeclared).cpus };
  return undefined;
}

/** Room at this moment: what is being taken is taken, what is being given back is not yet free. */
function freeNow({ owner, observed, resources, inFlight = [] }: PlanInput): Claim {
  const { undeclared } = resources;
  const made = inFlight.filter((one): one is CreateStep => one.step === 'create-and-start');
  const thawing = new Set(inFlight.flatMap((one) => (one.step === 'thaw' ? [one.container.id] : [])));
  const held = observed.containers
    .filter((one) => one.owner === owner && !isMadeBy(one, made))
    .map((one) => {
      const isThawing = one.state === 'paused' && thawing.has(one.id);
      return isThawing ? claimOf(one, undeclared) : heldBy(one, undeclared);
    });
  const taken = made.map(({ version }) => claimOf(version.workload, undeclared));
  return minus(capacityOf(resources), plus(sumOf(held), sumOf(taken)));
}

/** No other container of the workload has this gateway. */
function isMadeBy({ workload, gateway }: ObservedContainer, made: readonly CreateStep[]): boolean {
  return made.some((one) => one.gateway === gateway && one.version.workload.name === workload);
}

function beingMade({ version, gateway }: CreateStep, { owner }: PlanInput): ObservedContainer {
  const { workload, configHash, imageId } = version;
  return {
    id: MADE + gateway,
    name: MADE + gateway,
    owner,
    workload: workload.name,
    configHash,
    gateway,
    imageId,
    state: 'restarting',
    health: 'none',
    memLimit: workload.memLimit,
    cpus: workload.cpus,
    cpuShares: 0,
    exitCode: 0,
    oomKilled: false,
    startedAtMs: 0,
    finishedAtMs: 0,
  };
}

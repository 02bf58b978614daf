import { Admission, type Admitted } from './admit.ts';
import { clear } from './containers.ts';
import { isBeingMade, type PlanView, readySteps, viewOf } from './in-flight.ts';
import type { Intent } from './intent.ts';
import { intentOf } from './lifecycle.ts';
import { highestRunning, isThrottled } from './resources/pressure.ts';
import { weightsOf } from './resources/weights.ts';
import { isClearing, type Plan, type PlanInput, type Step, type WorkloadRecord, type WorkloadState } from './state.ts';
import { hasImage } from './version.ts';

/**
 * Plans the steps that bring the observed state to the desired state. Pure: no I/O, no clock, no randomness.
 *
 * Carrying the steps out brings the next plan closer to one without any; calling it again with the same values gives
 * the same plan. Workloads of higher priority come first, and what has to go goes before anything new comes: no step
 * needs room that the steps before it have not made. Those that need to wait for nothing are `ready`; it is asked again
 * with them in flight, and whenever one of them is done.
 */
export function plan(input: PlanInput): Plan {
  const view = viewOf(input);
  const { desired } = input;
  const ours = view.observed.containers.filter((container) => container.owner === input.owner);
  const wanted = new Set(desired.map((one) => one.workload.name));
  const orphans = ours.filter((container) => !wanted.has(container.workload));
  const steps: Step[] = orphans.flatMap((container) => clear(container, 'the manifest does not name it'));

  const ranked = [...desired].sort(
    (a, b) => b.workload.priority - a.workload.priority || (a.workload.name < b.workload.name ? -1 : 1),
  );
  const intents = ranked.map((one) =>
    intentOf(
      one,
      ours.filter((container) => container.workload === one.workload.name),
      view,
    ),
  );
  const admission = new Admission(
    view,
    intents,
    orphans.filter(({ state }) => state === 'removing'),
  );
  const admitted = [...admission.run().values()];
  steps.push(...admitted.flatMap((one) => one.steps), ...weighing(intents, admission, view));
  steps.push(...imageKeeping(admitted, wanted, view));
  const real = steps.filter((step) => !('container' in step && isBeingMade(step.container)));
  const ordered = [...real.filter(isClearing), ...real.filter((step) => !isClearing(step))];
  const ready = readySteps(ordered, input);

  const states = new Map<string, WorkloadState>();
  const memory = new Map<string, WorkloadRecord>();
  for (const { workload } of desired) {
    const one = admitted.find(({ intent }) => intent.desired.workload.name === workload.name)!;
    const begins = hasStart(workload.name, ready);
    states.set(workload.name, hasStart(workload.name, ordered) && !begins ? waiting(one.state) : one.state);
    // It is only back when it has its room; until then it is known what took it.
    memory.set(workload.name, begins ? { ...one.memory, preempted: undefined } : one.memory);
  }
  return { steps: ordered, ready, states, records: memory, used: admission.used };
}

function hasStart(workload: string, steps: readonly Step[]): boolean {
  return steps.some((one) => one.step === 'create-and-start' && one.version.workload.name === workload);
}

/** Of one that is to be started, and whose room or name is not free yet. */
function waiting(state: WorkloadState): WorkloadState {
  return state.update === undefined
    ? { ...state, reason: `${state.reason}; it waits for what has to end before` }
    : state;
}

/**
 * Sets the weights of running containers by priority, to the least while there is pressure and they may be preempted.
 */
function weighing(intents: readonly Intent[], admission: Admission, { resources }: PlanView): Step[] {
  const highest = highestRunning(intents);
  return intents.flatMap((intent) => {
    const { name, priority } = intent.desired.workload;
    if (admission.isTaken(name)) return [];
    const throttled = isThrottled(intent, highest, resources);
    const { cpuShares } = weightsOf(priority, throttled);
    const why = throttled ? 'there is pressure, and something more important runs' : `its priority is ${priority}`;
    return intent.holds.flatMap((container): Step[] =>
      container.state === 'running' && container.cpuShares !== cpuShares
        ? [{ step: 'weigh', container, priority, throttled, why }]
        : [],
    );
  });
}

/** The images of the last good versions stay on the engine for as long as there is somebody to go back to them. */
function imageKeeping(admitted: readonly Admitted[], wanted: ReadonlySet<string>, { observed }: PlanView): Step[] {
  const releasing = [...observed.kept.keys()].filter((workload) => !wanted.has(workload)).sort();
  return [
    ...admitted.flatMap(({ memory, intent }): Step[] => {
      const { name } = intent.desired.workload;
      const imageId = memory.good?.imageId;
      if (imageId === undefined || observed.kept.get(name) === imageId || !hasImage(observed.images, imageId))
        return [];
      return [{ step: 'keep-image', workload: name, imageId, why: 'it is the one of the last good version' }];
    }),
    ...releasing.map(
      (workload): Step => ({
        step: 'release-image',
        workload,
        why: 'the manifest does not name the workload',
      }),
    ),
  ];
}

import { backoffMs, memoryOf, rememberEnd, wantsRestart } from './restart.ts';
import type { Desired, End, Memory, Observed, ObservedContainer, Plan, Step, WorkloadState } from './state.ts';

export interface PlanInput {
  /** Owner label of this OBU; containers of anybody else are not touched. */
  readonly owner: string;
  readonly desired: readonly Desired[];
  readonly observed: Observed;
  /** As the last plan returned it. */
  readonly memory: ReadonlyMap<string, Memory>;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
}

/**
 * What to do next so that what runs becomes what the manifest wants. Pure: no I/O, no clock, no randomness.
 *
 * Each plan has at most one acting step per workload, and carrying the steps out brings the next plan closer to one
 * without any; calling it again with the same values gives the same plan. Workloads of higher priority come first, and
 * what has to go goes before anything new comes.
 */
export function plan(input: PlanInput): Plan {
  const { desired, observed } = input;
  const memory = new Map<string, Memory>();
  const states = new Map<string, WorkloadState>();
  const clearing: Step[] = [];
  const starting: Step[] = [];

  const ours = observed.containers.filter((container) => container.owner === input.owner);
  const wanted = new Set(desired.map((one) => one.workload.name));
  for (const container of ours) {
    if (!wanted.has(container.workload)) clearing.push(...clear(container, 'the manifest does not name it'));
  }

  const ranked = [...desired].sort(
    (a, b) => b.workload.priority - a.workload.priority || (a.workload.name < b.workload.name ? -1 : 1),
  );
  for (const one of ranked) {
    const { name } = one.workload;
    const own = ours.filter((container) => container.workload === name);
    const decision = decide(one, own, observed, memoryOf(input.memory, one), input.nowMs);
    memory.set(name, decision.memory);
    states.set(name, decision.state);
    for (const step of decision.steps) (isClearing(step) ? clearing : starting).push(step);
  }
  return { steps: [...clearing, ...starting], states, memory };
}

interface Decision {
  readonly steps: readonly Step[];
  readonly state: WorkloadState;
  readonly memory: Memory;
}

function decide(
  desired: Desired,
  own: readonly ObservedContainer[],
  observed: Observed,
  memory: Memory,
  nowMs: number,
): Decision {
  const { workload } = desired;
  const imageId = observed.images.get(workload.image);
  const [current, ...others] = [...own].sort(
    (a, b) => usefulness(b, desired, imageId) - usefulness(a, desired, imageId),
  );
  if (others.length > 0) {
    const steps = others.flatMap((container) => clear(container, 'another container of this workload is there'));
    return { steps, memory, state: describeCurrent(current!) };
  }
  if (current === undefined) return decideStart(desired, imageId, memory, nowMs);

  const outdated = whyOutdated(current, desired, imageId);
  if (outdated !== undefined) {
    const state: WorkloadState = { state: 'Stopping', detail: '', reason: outdated };
    return { steps: clear(current, outdated), memory, state };
  }
  switch (current.state) {
    case 'running': {
      const served = observed.gateways.has(current.id);
      const why = 'it was started by an earlier run of this OBU';
      const steps: Step[] = served ? [] : [{ step: 'adopt', desired, container: current, why }];
      return { steps, memory, state: describeCurrent(current) };
    }
    case 'created':
      // Creating and starting is one step: one that is only created is left from a start that was cut off.
      return {
        steps: clear(current, 'its start was cut off'),
        memory,
        state: { state: 'Pending', detail: 'Starting', reason: 'its start was cut off and is done again' },
      };
    case 'paused':
    case 'restarting':
    case 'removing':
      return { steps: [], memory, state: describeCurrent(current) };
    case 'exited':
    case 'dead': {
      const known = rememberEnd(memory, current);
      const end = known.lastEnd!;
      if (!wantsRestart(workload.restart, end, known.failures)) {
        // It stays as it is, so that the end is still known after a restart of the OBU.
        return { steps: [], memory: known, state: finalState(end, known, workload.restart.policy === 'no') };
      }
      const steps = clear(current, `it is started again: ${sentenceOf(end)}`);
      return { steps, memory: known, state: backingOff(end, known) };
    }
  }
}

/** There is no container. */
function decideStart(desired: Desired, imageId: string | undefined, memory: Memory, nowMs: number): Decision {
  const { workload } = desired;
  if (imageId === undefined) {
    const why =
      `image ${workload.image} is not on this engine; build it with \`kerb image build DIR --tag ${workload.image}\` ` +
      'or load it, and the workload starts by itself';
    return {
      steps: [{ step: 'refuse-missing-image', workload: workload.name, image: workload.image, why }],
      memory,
      state: { state: 'Failed', detail: 'ImageMissing', reason: why },
    };
  }
  const end = memory.lastEnd;
  if (end !== undefined) {
    if (!wantsRestart(workload.restart, end, memory.failures)) {
      return { steps: [], memory, state: finalState(end, memory, workload.restart.policy === 'no') };
    }
    const untilMs = end.atMs + backoffMs(memory.failures);
    // A clock that was set back must not hold a workload longer than the back-off itself.
    if (nowMs < untilMs && untilMs - nowMs <= backoffMs(memory.failures)) {
      const state = backingOff(end, memory);
      return { steps: [{ step: 'wait', workload: workload.name, untilMs, why: state.reason }], memory, state };
    }
  }
  const why = end === undefined ? 'the manifest names it' : `it is started again: ${sentenceOf(end)}`;
  return {
    steps: [{ step: 'create-and-start', desired, why }],
    memory,
    state: { state: 'Pending', detail: 'Starting', reason: why },
  };
}

function isClearing(step: Step): boolean {
  return step.step === 'stop' || step.step === 'remove';
}

/** The next step on the way to this container being gone. */
function clear(container: ObservedContainer, why: string): Step[] {
  switch (container.state) {
    case 'running':
    case 'paused':
    case 'restarting':
      return [{ step: 'stop', container, why }];
    case 'created':
    case 'exited':
    case 'dead':
      return [{ step: 'remove', container, why }];
    case 'removing':
      return [];
  }
}

function whyOutdated(container: ObservedContainer, desired: Desired, imageId: string | undefined): string | undefined {
  if (container.configHash !== desired.configHash) return 'its configuration has changed';
  if (imageId !== undefined && container.imageId !== imageId) return `image ${desired.workload.image} is a new one`;
  return undefined;
}

/** Of several containers of one workload the one to keep: right before wrong, running before ended, then the newest. */
function usefulness(container: ObservedContainer, desired: Desired, imageId: string | undefined): number {
  const right = whyOutdated(container, desired, imageId) === undefined ? 2 : 0;
  const running = container.state === 'running' ? 1 : 0;
  return (right + running) * 1e15 + container.startedAtMs;
}

function describeCurrent(container: ObservedContainer): WorkloadState {
  switch (container.state) {
    case 'running':
      return { state: 'Running', detail: 'Ok', reason: 'its container runs' };
    case 'paused':
      return { state: 'Frozen', detail: 'outside', reason: 'somebody paused its container from outside of the OBU' };
    case 'created':
    case 'restarting':
      return { state: 'Pending', detail: 'Starting', reason: 'its container is being started' };
    default:
      return { state: 'Stopping', detail: '', reason: 'its container is going away' };
  }
}

function sentenceOf(end: End): string {
  switch (end.kind) {
    case 'out-of-memory':
      return 'it used more memory than its mem_limit and was killed';
    case 'could-not-start':
      return `the engine could not start it: ${end.message}`;
    case 'exited':
      return end.exitCode > 128 && end.exitCode < 160
        ? `it was ended by signal ${end.exitCode - 128} (exit code ${end.exitCode})`
        : `it ended with exit code ${end.exitCode}`;
  }
}

function detailOf(end: End): string {
  return { 'out-of-memory': 'OutOfMemory', 'could-not-start': 'CannotStart', exited: 'ExitCode' }[end.kind];
}

function backingOff(end: End, memory: Memory): WorkloadState {
  const seconds = backoffMs(memory.failures) / 1000;
  return {
    state: 'Pending',
    detail: 'BackingOff',
    reason: `${sentenceOf(end)}; it is started again ${seconds} s after that, the ${ordinal(memory.failures)} time in a row`,
  };
}

function finalState(end: End, memory: Memory, never: boolean): WorkloadState {
  if (end.kind === 'exited' && end.exitCode === 0) {
    return { state: 'Succeeded', detail: '', reason: 'it ended with exit code 0' };
  }
  const policy = never ? 'its restart policy is `no`' : `that was the ${ordinal(memory.failures)} time in a row`;
  return {
    state: 'Failed',
    detail: detailOf(end),
    reason: `${sentenceOf(end)}; ${policy}, so it is not started again`,
  };
}

function ordinal(n: number): string {
  const teen = n % 100 >= 11 && n % 100 <= 13;
  return `${n}${teen ? 'th' : (['th', 'st', 'nd', 'rd'][n % 10] ?? 'th')}`;
}

/** What one workload needs next, as if it had the machine to itself; admit.ts then says what there is room for. */
import { bestOf, freeGateway, isUp, newestOf, startedBefore, TWIN, whyOutdated } from './containers.ts';
import { dependencyFault } from './dependencies.ts';
import type { PlanView } from './in-flight.ts';
import { adoptSteps, clearAll, type Intent, makeIntent, type Outcome, type RoomRequest } from './intent.ts';
import { backoffMs, isFailure, newRecord, recordFor, rememberEnd, wantsRestart } from './restart.ts';
import type { Desired, ObservedContainer, Step, Version, WorkloadRecord, WorkloadState } from './state.ts';
import { backingOff, finalState, insteadOf, sentenceOf, stateOf, withNote } from './state-text.ts';
import { updateFault } from './update-fault.ts';
import { canRollBack, isOf, sameVersion, type Target, targetOf } from './version.ts';

/** A container without a health check counts as well when it has been up this long. */
export const SETTLE_MS = 10_000;
/** @param own containers of this workload */
export function intentOf(desired: Desired, own: readonly ObservedContainer[], input: PlanView): Intent {
  const memory = input.records.get(desired.workload.name) ?? newRecord;
  return new Decision(desired, own, input).decide(memory);
}

class Decision {
  readonly #desired: Desired;
  readonly #own: readonly ObservedContainer[];
  readonly #input: PlanView;

  constructor(desired: Desired, own: readonly ObservedContainer[], input: PlanView) {
    this.#desired = desired;
    this.#own = own;
    this.#input = input;
  }

  decide(before: WorkloadRecord): Intent {
    const { observed, parked, has } = this.#input;
    const lacking = this.#desired.workload.requires.filter((what) => !has.has(what));
    if (lacking.length > 0) {
      const there = has.size === 0 ? 'nothing of that kind' : [...has].sort().join(', ');
      const reason = `it requires ${lacking.join(' and ')}, and this OBU has ${there}`;
      const state: WorkloadState = { state: 'Pending', detail: 'RequirementMissing', reason };
      return this.#intent({ record: before, state, steps: clearAll(this.#own, reason) });
    }
    const held = this.#input.held.get(this.#name);
    if (held !== undefined) {
      const state: WorkloadState = { state: 'Failed', detail: 'DataFull', reason: held };
      return this.#intent({ record: before, state, steps: clearAll(this.#own, held) });
    }
    const frozen = this.#frozenByPerson(before);
    if (frozen !== undefined) return frozen;
    const target = targetOf(this.#desired, before, this.#own, observed.images, parked);
    if (target.kind !== 'run') return this.#withoutVersion(before, target);
    const { version, pendingUpdate } = target;
    // A fault is remembered until something else is wanted than what had it.
    const wantsAnother = pendingUpdate === undefined && !sameVersion(before.bad, version);
    const memory = recordFor(wantsAnother ? { ...before, bad: undefined } : before, version);

    const intent = this.#preempted(memory, version) ?? this.#running(memory, version);
    return { ...intent, version, state: insteadOf(intent.state, pendingUpdate) };
  }

  /** It cannot be said what would have to be started; what runs is left alone. */
  #withoutVersion(record: WorkloadRecord, target: Exclude<Target, { kind: 'run' }>): Intent {
    if (target.kind === 'no-image') {
      const { image, why } = target;
      return this.#intent({
        record,
        state: { state: 'Failed', detail: 'ImageMissing', reason: why },
        steps: [...clearAll(this.#own, why), { step: 'refuse-missing-image', workload: this.#name, image, why }],
      });
    }
    const { container, pendingUpdate } = target;
    const rest = this.#own.filter((other) => other !== container);
    return this.#intent({
      record,
      state: insteadOf(stateOf(container), pendingUpdate),
      steps: [...clearAll(rest, TWIN), ...this.#adopt(container, record)],
      holds: [container],
    });
  }

  /** A person's freeze is the state that is wanted: nothing is started, updated or thawed. */
  #frozenByPerson(record: WorkloadRecord): Intent | undefined {
    if (record.frozenSinceMs === undefined) return undefined;
    const up = this.#own.filter(isUp);
    const since = new Date(record.frozenSinceMs).toISOString();
    const there = up.length === 0 ? '; it has no container now, and gets one when it is thawed' : '';
    const why = `a person froze it at ${since}`;
    const freezing = up.flatMap((container): Step[] =>
      container.state === 'running' ? [{ step: 'freeze', container, why }] : [],
    );
    return this.#intent({
      record,
      state: { state: 'Frozen', detail: 'person', reason: `${why}${there}` },
      steps: [
        ...clearAll(
          this.#own.filter((container) => !isUp(container)),
          why,
        ),
        ...freezing,
      ],
      holds: up,
    });
  }

  /** It made room for something. It wants to come back; undefined when it is back already, whoever did that. */
  #preempted(record: WorkloadRecord, version: Version): Intent | undefined {
    const { preempted } = record;
    if (preempted === undefined) return undefined;
    const running = this.#own.filter((container) => container.state === 'running');
    // What was to be stopped and has run since before then was never stopped: the OBU ended in the middle of it.
    const unfinished = preempted.how === 'stop' && running.length > 0 && running.every(startedBefore(preempted.atMs));
    if (running.length > 0 && !unfinished) return undefined;
    const frozen = preempted.how === 'freeze' && this.#own.some((container) => isOf(container, version));
    const paused = frozen ? this.#own.filter((container) => container.state === 'paused') : [];
    const rest = this.#own.filter((container) => !paused.includes(container));
    const steps = clearAll(rest, preempted.why);
    if (paused.length > 0) {
      const state: WorkloadState = { state: 'Frozen', detail: preempted.by, reason: preempted.why };
      const containers = paused.filter(({ id }) => !this.#input.underway.thawing.has(id));
      if (containers.length === 0) return this.#intent({ record, state, steps, holds: paused });
      const wish: RoomRequest = { kind: 'thaw', containers, why: 'there is room for it again' };
      return this.#intent({ record, state, steps, holds: paused, request: wish });
    }
    if (rest.some(({ state }) => state === 'running' || state === 'removing')) {
      return this.#intent({ record, state: { state: 'Stopping', detail: '', reason: preempted.why }, steps });
    }
    const state: WorkloadState = { state: 'Pending', detail: 'NoCapacity', reason: preempted.why };
    if (rest.length > 0) return this.#intent({ record, state, steps });
    return this.#start(record, version, 'there is room for it again');
  }

  #running(memoryBefore: WorkloadRecord, version: Version): Intent {
    let memory: WorkloadRecord = { ...memoryBefore, preempted: undefined };
    const mine = this.#own.filter((container) => isOf(container, version));
    const current = bestOf(mine);
    const hasEnded = current?.state === 'exited' || current?.state === 'dead';
    if (hasEnded && this.#isLost(memory, current)) return this.#lost(memory, current);
    if (hasEnded) memory = rememberEnd(memory, current);

    const fault = updateFault(memory, version, current);
    if (fault !== undefined && canRollBack(version, memory, this.#input.observed.images)) {
      const { configHash, imageId } = version;
      return this.decide({ ...memory, bad: { configHash, imageId, why: fault } });
    }

    const others = this.#own.filter((container) => !mine.includes(container));
    const handsOver = version.workload.update.strategy === 'hand-over';
    const old = handsOver ? newestOf(others.filter((container) => container.state === 'running')) : undefined;
    const twins = mine.filter((container) => container !== current);
    const tidying = [
      ...clearAll(twins, TWIN),
      ...clearAll(
        others.filter((container) => container !== old),
        whyOutdated(others[0], version),
      ),
    ];
    if (current === undefined) {
      // One that hands over need not be gone: the new one has a gateway of its own.
      const mayBeside = (one: ObservedContainer) =>
        handsOver && one.state === 'removing' && freeGateway(this.#name, this.#own) !== undefined;
      if (others.some((container) => container !== old && !mayBeside(container))) {
        const reason = whyOutdated(others[0], version);
        const state: WorkloadState = { state: 'Stopping', detail: '', reason };
        return this.#intent({ record: memory, state, steps: tidying, holds: old ? [old] : [] });
      }
      return this.#besides(old, memory, this.#start(memory, version, 'the manifest names it'));
    }
    const intent = this.#current(memory, version, current);
    const isDone = intent.record.good !== undefined && sameVersion(intent.record.good, version);
    if (old !== undefined && isDone) {
      const well = current.health === 'healthy' ? 'is healthy' : 'has been up for long enough';
      const why = memory.bad === undefined ? `its new container ${well}` : memory.bad.why;
      return { ...intent, steps: [...clearAll([old], why), ...tidying, ...intent.steps] };
    }
    return this.#besides(old, memory, { ...intent, steps: [...tidying, ...intent.steps] });
  }

  /** The old container of a hand-over stays until the new one is well. */
  #besides(old: ObservedContainer | undefined, record: WorkloadRecord, next: Intent): Intent {
    if (old === undefined) return next;
    const note = `that is its old container, which hands over: the new one is ${next.state.state}`;
    return {
      ...next,
      state: { ...withNote(stateOf(old), `${note}: ${next.state.reason}`), update: 'handing-over' },
      steps: [...next.steps, ...this.#adopt(old, record)],
      holds: [...next.holds, old],
    };
  }

  /** There is a container of the right version. */
  #current(record: WorkloadRecord, version: Version, current: ObservedContainer): Intent {
    const { workload } = this.#desired;
    switch (current.state) {
      case 'running':
        return this.#up(record, version, current);
      case 'created':
        // Creating and starting is one step: one that is only created is left from a start that was cut off.
        return this.#intent({
          record,
          state: { state: 'Pending', detail: 'Starting', reason: 'its start was cut off and is done again' },
          steps: clearAll([current], 'its start was cut off'),
        });
      case 'paused':
      case 'restarting':
      case 'removing': {
        const state = stateOf(current);
        const reason = this.#input.underway.why.get(current.id) ?? state.reason;
        return this.#intent({ record, state: { ...state, reason }, holds: [current] });
      }
      case 'exited':
      case 'dead': {
        const end = record.lastEnd!;
        if (wantsRestart(workload.restart, end, record.failures)) {
          const state = backingOff(end, record.failures, this.#backoffMs(record));
          const steps = clearAll([current], `it is started again: ${sentenceOf(end)}`);
          return this.#intent({ record, state, steps, keepsRoom: true });
        }
        // It stays as it is, so that the end is still known after a restart of the OBU.
        const known = isFailure(end) ? record : { ...record, good: version };
        return this.#intent({ record: known, state: finalState(end, known, workload.restart.policy === 'no') });
      }
    }
  }

  #isLost(record: WorkloadRecord, { id, endedWithEngine = false }: ObservedContainer): boolean {
    return endedWithEngine && record.lastContainer !== id;
  }

  /** The engine has ended and taken it along: that says nothing about the workload, and what was running comes back. */
  #lost(memoryBefore: WorkloadRecord, current: ObservedContainer): Intent {
    const why = 'the Docker Engine ended and took it along; it is started again';
    // A back-off that it had behind it is not waited for once more, and the start is not counted as one after a failure.
    const memory: WorkloadRecord = { ...memoryBefore, lastEnd: undefined, lastContainer: current.id };
    const state: WorkloadState = { state: 'Pending', detail: 'Starting', reason: why };
    const steps = clearAll([current], why);
    return this.#intent({ record: memory, state, steps, holds: this.#own.filter(isUp), keepsRoom: true });
  }

  #up(record: WorkloadRecord, version: Version, current: ObservedContainer): Intent {
    const { nowMs } = this.#input;
    const steps = this.#adopt(current, record);
    const state = stateOf(current);
    const settledMs = current.startedAtMs + SETTLE_MS;
    // A clock that was set back says nothing about how long it has run.
    const settles = current.health === 'none' && nowMs < settledMs && nowMs >= current.startedAtMs;
    const isWell = current.health === 'healthy' || (current.health === 'none' && !settles);
    if (isWell) return this.#intent({ record: { ...record, good: version }, state, steps, holds: [current] });
    if (settles && !sameVersion(record.good, version)) {
      steps.push({ step: 'wait', workload: this.#name, untilMs: settledMs, why: 'it has not been up for long enough' });
    }
    return this.#intent({ record, state, steps, holds: [current] });
  }

  /** There is no container of this version. */
  #start(record: WorkloadRecord, version: Version, whyFirst: string): Intent {
    const { nowMs } = this.#input;
    const { restart } = this.#desired.workload;
    const end = record.lastEnd;
    if (end !== undefined) {
      if (!wantsRestart(restart, end, record.failures)) {
        return this.#intent({ record, state: finalState(end, record, restart.policy === 'no') });
      }
      const waitMs = this.#backoffMs(record);
      const untilMs = end.atMs + waitMs;
      // A clock that was set back must not hold a workload longer than the back-off itself.
      if (nowMs < untilMs && untilMs - nowMs <= waitMs) {
        const state = backingOff(end, record.failures, waitMs);
        const wait: Step = { step: 'wait', workload: this.#name, untilMs, why: state.reason };
        return this.#intent({ record, state, steps: [wait], keepsRoom: true });
      }
    }
    const waitsFor = dependencyFault(this.#desired.workload, this.#input);
    if (waitsFor !== undefined) {
      return this.#intent({ record, state: { state: 'Pending', detail: 'WaitingForDependency', reason: waitsFor } });
    }
    const why = end === undefined ? whyFirst : `it is started again: ${sentenceOf(end)}`;
    const gateway = freeGateway(this.#name, this.#own);
    if (gateway === undefined) throw new Error(`${this.#name} is to be started beside two containers`); // nobody does
    const state: WorkloadState = { state: 'Pending', detail: 'Starting', reason: why };
    return this.#intent({ record, state, request: { kind: 'start', version, gateway, why } });
  }

  get #name(): string {
    return this.#desired.workload.name;
  }

  #backoffMs(record: WorkloadRecord): number {
    return backoffMs(record.failures, this.#input.seed, this.#name);
  }

  #intent(outcome: Outcome): Intent {
    return makeIntent(this.#desired, this.#own, outcome);
  }

  #adopt(container: ObservedContainer, record: WorkloadRecord): Step[] {
    return adoptSteps(container, this.#desired, record, this.#input.observed.gateways);
  }
}

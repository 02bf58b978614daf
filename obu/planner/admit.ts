/**
 * What there is room for, by declared limits. Workloads are looked at from the highest priority down:
 * - what fits is started; for what does not, the cheapest set of lower ones that allows it is frozen or stopped (room.ts);
 * - what made room comes back when there has been room for it for HOLD_MS, so that nothing flaps;
 * - room is kept for what is about to be started again, and what could not be made to give room back is not started
 *   into room that a higher one waits for.
 */

import { allDependencies } from './dependencies.ts';
import type { PlanView } from './in-flight.ts';
import type { Intent, RoomRequest } from './intent.ts';
import { fits, minus, NOTHING, plus, sentence, sentenceOfParts, shortOf, sumOf } from './resources/capacity.ts';
import {
  highestRunning,
  NOTICEABLE_CPUS,
  PRESSURES,
  type PressureKind,
  pressureVictims,
  shedAt,
  stillPressed,
} from './resources/pressure.ts';
import { type Candidate, cheapestRoom } from './resources/room.ts';
import { RoomAccount } from './resources/room-account.ts';
import type { Claim } from './state.ts';
import {
  isClearing,
  type ObservedContainer,
  type Preempted,
  type Step,
  type WorkloadRecord,
  type WorkloadState,
} from './state.ts';
import { madeRoomFor, noRoom } from './state-text.ts';

/** What made room comes back after there has been room for it for this long. */
export const HOLD_MS = 5000;

export interface Admitted {
  readonly intent: Intent;
  readonly memory: WorkloadRecord;
  readonly state: WorkloadState;
  readonly steps: readonly Step[];
}

/** Who waits for room, and for how much. */
interface Waiting {
  readonly name: string;
  readonly priority: number;
  readonly need: Claim;
}

export class Admission {
  readonly #input: PlanView;
  readonly #intents: readonly Intent[];
  readonly #room: RoomAccount;
  readonly #results = new Map<string, Admitted>();
  readonly #waiting: Waiting[] = [];
  /** Frozen or stopped in this plan. */
  readonly #taken = new Set<string>();
  /** Shed under pressure, and not yet to come back. */
  readonly #pressed: ReadonlySet<string>;
  /**
   * @param intents from the highest priority down
   * @param others containers of no workload of the manifest that are still there
   */
  constructor(input: PlanView, intents: readonly Intent[], others: readonly ObservedContainer[]) {
    this.#input = input;
    this.#intents = intents;
    this.#room = new RoomAccount(input, [...others, ...intents.flatMap(({ holds }) => holds)]);
    this.#pressed = stillPressed(intents, input.resources);
  }

  /** What is held when the steps are done. */
  get used(): Claim {
    return this.#room.used;
  }

  run(): ReadonlyMap<string, Admitted> {
    for (const intent of this.#intents) this.#admit(intent);
    this.#shedOvershoot();
    for (const kind of PRESSURES) this.#shedUnderPressure(kind);
    return this.#results;
  }

  /** Whether it was frozen or stopped in this plan. */
  isTaken(name: string): boolean {
    return this.#taken.has(name);
  }

  #candidate(intent: Intent): Candidate | undefined {
    const { workload } = intent.desired;
    if (workload.preemption === 'never' || this.isTaken(workload.name)) return undefined;
    const frees = this.#room.heldBy(intent.holds);
    const rung = workload.preemption;
    return {
      name: workload.name,
      priority: workload.priority,
      mode: rung,
      frees: rung === 'stop' ? frees : { ...frees, memory: 0 },
    };
  }

  #admit(intent: Intent): void {
    const { request: wish, desired } = intent;
    if (this.isTaken(desired.workload.name)) return;
    const result: Admitted = { intent, memory: intent.record, state: intent.state, steps: intent.steps };
    if (intent.keepsRoom) this.#room.keep(this.#room.toStart(intent));
    this.#put(wish === undefined ? result : this.#wish(result, wish));
  }

  #wish(result: Admitted, wish: RoomRequest): Admitted {
    const { intent } = result;
    const { name, priority } = intent.desired.workload;
    const need = wish.kind === 'start' ? this.#room.toStart(intent) : this.#room.toThaw(wish.containers);
    if (this.#pressed.has(name)) return this.#heldBack(result, intent.record.preempted!.why);

    const blocked = this.#guarded(intent, need);
    if (blocked !== undefined) return this.#noRoom(result, need, `, and that is kept for ${blocked}`);
    const { free, capacity } = this.#room;
    const victims = cheapestRoom(this.#candidatesBelow(intent), shortOf(need, free));
    if (victims === undefined) {
      const impossible = !fits(plus(need, this.#room.heldBy(intent.holds)), capacity);
      if (!impossible) this.#waiting.push({ name, priority, need });
      return this.#noRoom(result, need, impossible ? ', which will never be enough' : '');
    }
    const waits = this.#holdsBack(result, need);
    if (waits !== undefined) return waits;

    const because = madeRoomFor(intent.desired.workload, shortOf(need, free), capacity);
    for (const victim of victims) this.#shed(victim, 'capacity', name, because);
    this.#room.give(name, need);
    return {
      ...result,
      steps: [...intent.steps, ...stepsOf(wish)],
    };
  }

  /** It has made room: it waits until there has been room for it for long enough, and the room waits with it. */
  #holdsBack(result: Admitted, need: Claim): Admitted | undefined {
    const { intent } = result;
    const { nowMs } = this.#input;
    const { preempted } = intent.record;
    if (preempted === undefined) return undefined;
    const since = preempted.roomSinceMs !== undefined && preempted.roomSinceMs <= nowMs ? preempted.roomSinceMs : nowMs;
    const untilMs = since + HOLD_MS;
    if (nowMs >= untilMs) return undefined;
    this.#room.keep(need);
    const why = `${preempted.why}; there is room for it again, and it comes back when that has lasted ${HOLD_MS / 1000} s`;
    const memory: WorkloadRecord = { ...intent.record, preempted: { ...preempted, roomSinceMs: since } };
    const wait: Step = { step: 'wait', workload: intent.desired.workload.name, untilMs, why };
    return { ...this.#heldBack(result, why), memory, steps: [...intent.steps, wait] };
  }

  /** Not yet: its state says why, and it is not started. */
  #heldBack(result: Admitted, why: string): Admitted {
    const { intent } = result;
    const { preempted } = intent.record;
    const memory: WorkloadRecord = {
      ...intent.record,
      preempted: preempted && { ...preempted, roomSinceMs: undefined },
    };
    if (intent.holds.some(({ state }) => state === 'running')) {
      return { ...result, memory, state: { ...intent.state, reason: `${intent.state.reason}, and it waits: ${why}` } };
    }
    const isFrozen = intent.request?.kind === 'thaw';
    const by = intent.record.preempted?.by ?? 'person';
    const state: WorkloadState = isFrozen
      ? { state: 'Frozen', detail: by, reason: why }
      : { state: 'Pending', detail: 'NoCapacity', reason: why };
    return { ...result, memory, state };
  }

  #noRoom(result: Admitted, need: Claim, why: string): Admitted {
    const { intent } = result;
    const before = intent.record.preempted;
    const { capacity, used } = this.#room;
    const sentence = noRoom(intent.version!.workload, need, minus(capacity, used), capacity, why);
    return this.#heldBack(result, before === undefined ? sentence : `${before.why}; ${sentence}`);
  }

  /**
   * The higher one that waits for room which this one would take and could not be made to give back; undefined when it
   * takes no such room.
   */
  #guarded(intent: Intent, need: Claim): string | undefined {
    const { priority, preemption } = intent.desired.workload;
    if (preemption === 'stop') return undefined;
    const higher = this.#waiting.filter((one) => one.priority > priority);
    const kept = sumOf(higher.map((one) => one.need));
    const forGood: Claim = preemption === 'freeze' ? { ...need, cpus: 0 } : need;
    return fits(forGood, minus(this.#room.free, kept)) ? undefined : higher[0]?.name;
  }

  #candidatesBelow(intent: Intent): Candidate[] {
    const { name, priority } = intent.desired.workload;
    const needed = allDependencies(name, this.#input);
    return this.#intents.flatMap((other) => {
      if (other.desired.workload.priority >= priority || needed.has(other.desired.workload.name)) return [];
      return this.#candidate(other) ?? [];
    });
  }

  /** Limits or the machine have changed, or somebody thawed a container: what runs is more than there is room for. */
  #shedOvershoot(): void {
    const { capacity, used } = this.#room;
    const over = shortOf(used, capacity);
    const all = this.#intents.flatMap((intent) => this.#candidate(intent) ?? []);
    const why = `because ${sentenceOfParts(over)} more than the ${sentence(capacity)} for workloads were in use`;
    for (const victim of cheapestRoom(all, over) ?? []) this.#shed(victim, 'capacity', 'capacity', why);
  }

  /** What was measured is more than declared limits had promised: the next rungs of the ladder. */
  #shedUnderPressure(kind: PressureKind): void {
    const { resources, cpuUse } = this.#input;
    const level = resources.pressure[kind];
    const out = [...this.#pressed].filter((name) => this.#preempted(name)?.cause === `${kind}-pressure`).length;
    const candidates = this.#intents.flatMap((intent) => {
      const candidate = this.#candidate(intent);
      if (candidate === undefined) return [];
      // When nobody measures it, all may.
      const usesCpu = (cpuUse?.get(candidate.name) ?? (cpuUse === undefined ? Infinity : 0)) >= NOTICEABLE_CPUS;
      return [{ ...candidate, declared: declares(intent, kind), usesCpu }];
    });
    const why = `because ${kind} pressure went on after workloads of lower priority had been throttled`;
    for (const victim of pressureVictims(kind, candidates, shedAt(level) - out, highestRunning(this.#intents))) {
      this.#shed(victim, `${kind}-pressure`, `${kind}-pressure`, why);
    }
  }

  #shed({ name, mode: rung }: Candidate, cause: Preempted['cause'], by: string, because: string): void {
    const why = `it was ${rung === 'freeze' ? 'frozen' : 'stopped'} ${because}`;
    const intent = this.#intents.find(({ desired }) => desired.workload.name === name)!;
    this.#take(intent, { how: rung, cause, by, why, atMs: this.#input.nowMs, roomSinceMs: undefined });
  }

  /** Freezes or stops what it holds, and lets it start nothing. */
  #take(intent: Intent, preempted: Preempted): void {
    const { how, by, why } = preempted;
    const { name } = intent.desired.workload;
    const steps = intent.holds.flatMap((container): Step[] => {
      if (how === 'stop') return container.state === 'removing' ? [] : [{ step: 'stop', container, why }];
      return container.state === 'running' ? [{ step: 'freeze', container, why }] : [];
    });
    const before = this.#room.heldBy(intent.holds);
    const after = how === 'stop' ? NOTHING : { memory: before.memory, cpus: 0 };
    this.#room.takeBack(name, minus(before, after));
    this.#taken.add(name);
    if (this.#input.underway.busy.has(name)) {
      // Nothing can be taken from it now; the plan that comes when its step is done will.
      this.#put({ intent, memory: intent.record, state: intent.state, steps: intent.steps.filter(isClearing) });
      return;
    }
    const state: WorkloadState =
      how === 'freeze' ? { state: 'Frozen', detail: by, reason: why } : { state: 'Stopping', detail: '', reason: why };
    const settled = intent.steps.filter(({ step }) => step === 'stop' || step === 'remove');
    this.#put({ intent, memory: { ...intent.record, preempted }, state, steps: [...settled, ...steps] });
  }

  #put(result: Admitted): void {
    this.#results.set(result.intent.desired.workload.name, result);
  }

  #preempted(name: string): Preempted | undefined {
    return this.#intents.find(({ desired }) => desired.workload.name === name)?.record.preempted;
  }
}

function stepsOf(wish: RoomRequest): Step[] {
  if (wish.kind === 'start') {
    const { version, gateway, why } = wish;
    return [{ step: 'create-and-start', version, gateway, why }];
  }
  return wish.containers.map((container) => ({ step: 'thaw', container, why: wish.why }));
}

function declares({ desired, version }: Intent, kind: PressureKind): boolean {
  const { memLimit, cpus } = (version ?? desired).workload;
  return (kind === 'memory' ? memLimit : cpus) !== undefined;
}

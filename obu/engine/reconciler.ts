import { setTimeout as sleep } from 'node:timers/promises';
import { steadyMs } from '../../shared/clock.ts';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import type { Claim, Resources } from '../planner/capacity.ts';
import { rememberFreeze, rememberThaw } from '../planner/freeze.ts';
import { plan } from '../planner/plan.ts';
import type { PressureKind, PressureSample } from '../planner/pressure.ts';
import { freshMemory, rememberRefusedStart, rememberStart } from '../planner/restart.ts';
import {
  type Action,
  type Desired,
  isAction,
  isClearing,
  type Memory,
  type ObservedContainer,
  type Plan,
  type PlanInput,
  type Preempted,
  type ReconcilerStore,
  type WorkloadState,
} from '../planner/state.ts';
import { type Engine, withTimeout } from './docker-client.ts';
import { EngineHealth } from './engine-health.ts';
import type { StepRunner } from './executors.ts';
import { observe } from './observe.ts';
import { PRESSURE_SAMPLE_MS, type PressureLadders } from './pressure.ts';

/** Looks at the engine this often even when nothing calls for it: an event can be lost. */
const RESYNC_MS = 10_000;
/** How long one look may take. */
const LOOK_TIMEOUT_MS = 15_000;
/** Longest sleep of one timer. */
const MAX_SLEEP_MS = 60_000;
/** Rounds without rest; more are not needed by anything that gets better by another round. */
const MAX_ROUNDS = 100;

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
  readonly pressure: PressureLadders;
  /** Undefined: nobody measures pressure where the engine is. */
  readonly readPressure: (() => PressureSample) | undefined;
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

/**
 * Observe, plan, carry out, and again until there is nothing to do; then wait for an event of the engine, a back-off
 * that ends, or the next look. One round at a time, so that the planner never sees a half-done step. What the planner
 * remembers is in the store before anything is done that depends on it.
 */
export class Reconciler {
  readonly #parts: ReconcilerParts;
  readonly #health = new EngineHealth();
  readonly #abort = new AbortController();
  #desired: readonly Desired[];
  #memory: ReadonlyMap<string, Memory> = new Map();
  #saved = '';
  #containers: readonly ObservedContainer[] = [];
  #states: ReadonlyMap<string, WorkloadState> = new Map();
  #used: Claim = { memory: 0, cpus: 0 };
  #loops: Promise<unknown> | undefined;
  #triggered = false;
  #wake: (() => void) | undefined;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.#desired = parts.desired;
  }

  start(): void {
    if (this.#loops !== undefined) return;
    this.#memory = this.#parts.store.load();
    this.#loops = Promise.all([this.#run(), this.#watchPressure()]);
  }

  /** Ends the loop after the step that it is in. Containers are left as they are. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#wake?.();
    await this.#loops;
  }

  /** Something may have changed: look again soon. */
  trigger(): void {
    this.#triggered = true;
    this.#wake?.();
  }

  /** From now on this is what is wanted; no further step for what was wanted before is begun. */
  setDesired(desired: readonly Desired[]): void {
    const before = new Map(this.#desired.map((one) => [one.workload.name, JSON.stringify(one)]));
    const changed = desired.filter((one) => before.get(one.workload.name) !== JSON.stringify(one));
    this.#desired = desired;
    // What is known of them is about something else.
    this.#states = new Map(this.#states);
    for (const { workload } of changed) (this.#states as Map<string, WorkloadState>).delete(workload.name);
    this.trigger();
  }

  /** The first steps on the way to this, with what runs now; nothing is done. @throws when the engine does not answer */
  async planNow(desired: readonly Desired[]): Promise<Plan> {
    return plan(await this.#look(desired));
  }

  /**
   * Freezes a workload until it is thawed, whatever else happens; also when it does not run now.
   * @throws KerbError UnknownWorkload
   */
  freeze(workload: string): void {
    this.#byPerson(workload, (memory) => rememberFreeze(memory, Date.now()));
  }

  /** Takes back `freeze`, and thaws what somebody froze from outside. @throws KerbError UnknownWorkload */
  thaw(workload: string): void {
    this.#byPerson(workload, (memory) => rememberThaw(memory, steadyMs()));
  }

  get desired(): readonly Desired[] {
    return this.#desired;
  }

  /** What is the matter with the engine; empty when it does what it is asked. */
  get engineFault(): string {
    return this.#health.fault;
  }

  /** What the machine has and the workloads have of it, by their declared limits. */
  get resources(): Omit<Resources, 'pressure'> & { readonly used: Claim; readonly pressure: string } {
    const { resources, pressure, readPressure, engine } = this.#parts;
    const elsewhere = `not available: the engine is on another machine (${engine.host})`;
    return { ...resources, used: this.#used, pressure: readPressure === undefined ? elsewhere : pressure.describe() };
  }

  state(workload: string): WorkloadState {
    return (
      this.#states.get(workload) ?? { state: 'Pending', detail: 'Starting', reason: 'the OBU has not looked at it yet' }
    );
  }

  restarts(workload: string): number {
    return this.memory(workload).restarts;
  }

  /** What the planner remembers of it. */
  memory(workload: string): Memory {
    return this.#memory.get(workload) ?? freshMemory;
  }

  /** Those of this OBU, as the engine showed them at the last look. */
  get containers(): readonly ObservedContainer[] {
    return this.#containers;
  }

  async #run(): Promise<void> {
    const { log, onEngineFault } = this.#parts;
    while (!this.#abort.signal.aborted) {
      let sleepMs: number;
      try {
        sleepMs = await this.#settle();
      } catch (error) {
        sleepMs = this.#health.failed(error);
        const message = `the Docker Engine did not do what it was asked: ${this.#health.reason}`;
        log.warn(`${message}; trying again in ${sleepMs / 1000} s`);
        if (this.#health.isFirstFailure) onEngineFault(message);
      }
      await this.#sleep(sleepMs);
    }
  }

  /** Rounds until nothing is left to do; returns how long to sleep. */
  async #settle(): Promise<number> {
    for (let round = 0; round < MAX_ROUNDS && !this.#abort.signal.aborted; round++) {
      this.#triggered = false;
      const input = await this.#look(this.#desired);
      const desired = this.#desired;
      const { containers } = input.observed;
      this.#containers = containers;
      this.#parts.onRunning(new Map(containers.flatMap((c) => (c.state === 'running' ? [[c.workload, c.id]] : []))));
      // What is wanted, or remembered, may have changed while the engine was asked.
      const next = plan({ ...input, memory: this.#memory, desired });
      this.#accept(next);
      const actions = next.steps.filter(isAction);
      if (actions.length === 0) {
        this.#health.answered();
        const waits = next.steps.flatMap((step) => (step.step === 'wait' ? [step.untilMs - input.nowMs] : []));
        return Math.max(0, Math.min(RESYNC_MS, ...waits));
      }
      // Nothing is started into room that could not be made.
      const results = await Promise.allSettled(actions.filter(isClearing).map((step) => this.#carryOut(step)));
      for (const result of results) if (result.status === 'rejected') throw result.reason;
      if (results.some((result) => result.status === 'fulfilled' && !result.value)) continue;
      for (const action of actions.filter((step) => !isClearing(step))) {
        if (this.#abort.signal.aborted) return 0;
        if (this.#desired !== desired) break;
        await this.#carryOut(action);
      }
    }
    return RESYNC_MS;
  }

  async #look(desired: readonly Desired[]): Promise<PlanInput> {
    const { engine, owner, runner, pressure, resources, has, parked, held, seed } = this.#parts;
    const memory = this.#memory;
    const images = desired.flatMap(({ workload }) => {
      const known = memory.get(workload.name);
      const ids = [known?.version?.imageId, known?.good?.imageId].filter((id) => id !== undefined);
      return [workload.image, ...ids];
    });
    const seen = await withTimeout(observe(engine, this.#parts, images), LOOK_TIMEOUT_MS);
    return {
      ...{ owner, desired, memory, has, parked: parked(), held: held(), seed, nowMs: steadyMs() },
      observed: runner.see(seen),
      resources: { ...resources, pressure: pressure.levels },
    };
  }

  /** @returns false when it could not be taken away */
  async #carryOut(action: Action): Promise<boolean> {
    const { runner, log } = this.#parts;
    const workload = workloadOf(action);
    log.info({ workload, step: action.step }, `${action.step} ${workload}: ${action.why}`);
    this.#parts.observer?.onStep(workload, action.step, action.why);
    try {
      if (action.step === 'remove') await this.#parts.beforeRemove(action.container);
      const done = await runner.run(action);
      if (action.step === 'create-and-start') this.#remember(workload, rememberStart);
      return done;
    } catch (error) {
      const refusedStart =
        action.step === 'create-and-start' &&
        (isKerbError(error, ErrorCode.ContainerFailed) || isKerbError(error, ErrorCode.GatewayUnavailable));
      if (!refusedStart) throw error;
      log.warn({ workload }, `workload ${workload} could not be started: ${messageOf(error)}`);
      this.#remember(workload, (memory) => rememberRefusedStart(memory, messageOf(error), steadyMs()));
      return true;
    }
  }

  #byPerson(workload: string, change: (memory: Memory) => Memory): void {
    if (!this.#desired.some((one) => one.workload.name === workload)) {
      const known = this.#desired.map((one) => one.workload.name).join(', ') || 'none';
      throw new KerbError(ErrorCode.UnknownWorkload, `there is no workload "${workload}"; there is ${known}`, {
        workload,
      });
    }
    this.#memory = new Map(this.#memory).set(workload, change(this.#memory.get(workload) ?? freshMemory));
    this.#save();
    this.trigger();
  }

  #remember(workload: string, change: (memory: Memory) => Memory): void {
    const known = this.#memory.get(workload);
    if (known === undefined) return;
    this.#memory = new Map(this.#memory).set(workload, change(known));
    this.#save();
  }

  #accept(next: Plan): void {
    const before = this.#states;
    const { observer } = this.#parts;
    for (const [workload, { preempted }] of next.memory) {
      // What it was before this OBU was started has been told by the one before it.
      if (preempted !== undefined && preempted.atMs !== this.memory(workload).preempted?.atMs)
        observer?.onPreempted(workload, preempted);
    }
    this.#memory = next.memory;
    this.#save();
    this.#states = next.states;
    this.#used = next.used;
    for (const [workload, state] of next.states) {
      const old = before.get(workload);
      if (old?.state === state.state && old.detail === state.detail && old.reason === state.reason) continue;
      const failed = state.state === 'Failed' || state.detail === 'BackingOff' || state.detail === 'CrashLoop';
      const word = `${state.state}${state.detail === '' ? '' : `(${state.detail})`}`;
      this.#parts.log[failed ? 'warn' : 'info']({ workload }, `workload ${workload}: ${word}: ${state.reason}`);
      observer?.onState(workload, state);
      if (failed && state.detail !== 'ImageMissing') this.#parts.onFailure(workload, state.reason);
    }
  }

  /** A store that is full or broken is no reason to let workloads stand still: it is said, and tried again. */
  #save(): void {
    const text = JSON.stringify([...this.#memory]);
    if (text === this.#saved) return;
    try {
      this.#parts.store.save(this.#memory);
      this.#saved = text;
    } catch (error) {
      this.#parts.log.error(`what the planner remembers could not be saved: ${messageOf(error)}`);
    }
  }

  async #watchPressure(): Promise<void> {
    const { pressure, readPressure } = this.#parts;
    const { signal } = this.#abort;
    if (readPressure === undefined) return;
    while (!signal.aborted) {
      const shed = (kind: PressureKind) =>
        [...this.#memory.values()].filter(({ preempted }) => preempted?.cause === `${kind}-pressure`).length;
      const changed = pressure.add(readPressure(), { memory: shed('memory'), cpu: shed('cpu') }, performance.now());
      if (changed) {
        this.#parts.log.warn(`pressure: ${pressure.describe()}`);
        this.trigger();
      }
      await sleep(PRESSURE_SAMPLE_MS, undefined, { signal }).catch(() => {}); // stopped: the loop ends
    }
  }

  async #sleep(ms: number): Promise<void> {
    if (this.#abort.signal.aborted || this.#triggered) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(ms, MAX_SLEEP_MS));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}

function workloadOf(action: Action): string {
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

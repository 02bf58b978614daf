import { ErrorCode, isKerbError, messageOf } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import { plan } from '../planner/plan.ts';
import { rememberRefusedStart, rememberStart } from '../planner/restart.ts';
import { type Action, type Desired, isAction, type Memory, type Plan, type WorkloadState } from '../planner/state.ts';
import { type Engine, engineMessage } from './docker-client.ts';
import type { StepRunner } from './executors.ts';
import { observe } from './observe.ts';

/** Looks at the engine this often even when nothing calls for it: an event can be lost. */
const RESYNC_MS = 10_000;
/** After the engine did not do what it was asked. */
const RETRY_MS = 1000;
/** Longest sleep of one timer. */
const MAX_SLEEP_MS = 60_000;

export interface ReconcilerParts {
  readonly engine: Engine;
  readonly owner: string;
  readonly desired: readonly Desired[];
  readonly runner: StepRunner;
  /** Called after each look at the engine with the containers that run: [workload, container id]. */
  readonly onRunning: (running: ReadonlyMap<string, string>) => void;
  /** Called when a workload has failed in a new way. A missing image is a state that lasts, and no event. */
  readonly onFailure: (workload: string, reason: string) => void;
  readonly log: Logger;
}

/**
 * Observe, plan, carry out, and again until there is nothing to do; then wait for an event of the engine, a back-off
 * that ends, or the next look. One round at a time, so that the planner never sees a half-done step.
 */
export class Reconciler {
  readonly #parts: ReconcilerParts;
  #desired: readonly Desired[];
  #memory: ReadonlyMap<string, Memory> = new Map();
  #states: ReadonlyMap<string, WorkloadState> = new Map();
  #loop: Promise<void> | undefined;
  #stopping = false;
  #triggered = false;
  #wake: (() => void) | undefined;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.#desired = parts.desired;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Ends the loop after the step that it is in. Containers are left as they are. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wake?.();
    await this.#loop;
  }

  /** Something may have changed: look again soon. */
  trigger(): void {
    this.#triggered = true;
    this.#wake?.();
  }

  /** Other workloads are wanted from now on. Steps of a plan for those of before are not begun any more. */
  setDesired(desired: readonly Desired[]): void {
    const before = new Map(this.#desired.map((one) => [one.workload.name, JSON.stringify(one)]));
    const same = new Set(
      desired.flatMap((one) => (before.get(one.workload.name) === JSON.stringify(one) ? [one.workload.name] : [])),
    );
    this.#desired = desired;
    // What was known of the others is about something else.
    this.#states = new Map([...this.#states].filter(([workload]) => same.has(workload)));
    this.trigger();
  }

  /** What would be done next if these were wanted; nothing is. @throws errors of dockerode when the engine does not answer */
  async preview(desired: readonly Desired[]): Promise<Plan> {
    const { owner, runner } = this.#parts;
    const seen = await this.#observe(desired);
    const observed = { ...seen, gateways: runner.served };
    return plan({ owner, desired, observed, memory: this.#memory, nowMs: Date.now() });
  }

  state(workload: string): WorkloadState {
    return (
      this.#states.get(workload) ?? { state: 'Pending', detail: 'Starting', reason: 'the OBU has not looked at it yet' }
    );
  }

  restarts(workload: string): number {
    return this.#memory.get(workload)?.restarts ?? 0;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      let sleepMs: number;
      try {
        sleepMs = await this.#settle();
      } catch (error) {
        this.#parts.log.warn(`the Docker Engine did not do what it was asked: ${engineMessage(error)}; trying again`);
        sleepMs = RETRY_MS;
      }
      await this.#sleep(sleepMs);
    }
  }

  /** Rounds until nothing is left to do; returns how long to sleep. */
  async #settle(): Promise<number> {
    const { owner, runner } = this.#parts;
    while (!this.#stopping) {
      this.#triggered = false;
      const desired = this.#desired;
      const seen = await this.#observe(desired);
      if (desired !== this.#desired) continue;
      this.#parts.onRunning(
        new Map(seen.containers.flatMap((c) => (c.state === 'running' ? [[c.workload, c.id]] : []))),
      );
      const observed = { ...seen, gateways: runner.served };
      const nowMs = Date.now();
      const next = plan({ owner, desired, observed, memory: this.#memory, nowMs });
      this.#accept(next);
      const actions = next.steps.filter(isAction);
      if (actions.length === 0) {
        const waits = next.steps.flatMap((step) => (step.step === 'wait' ? [step.untilMs - nowMs] : []));
        return Math.max(0, Math.min(RESYNC_MS, ...waits));
      }
      for (const action of actions) {
        if (this.#stopping) return 0;
        if (desired !== this.#desired) break;
        await this.#carryOut(action);
      }
    }
    return 0;
  }

  #observe(desired: readonly Desired[]) {
    const images = desired.map(({ workload }) => workload.image);
    return observe(this.#parts.engine, this.#parts.owner, images);
  }

  async #carryOut(action: Action): Promise<void> {
    const { runner, log } = this.#parts;
    const workload = 'desired' in action ? action.desired.workload.name : action.container.workload;
    log.info({ workload, step: action.step }, `${action.step} ${workload}: ${action.why}`);
    try {
      await runner.run(action);
      if (action.step === 'create-and-start') this.#remember(workload, rememberStart);
    } catch (error) {
      const refusedStart =
        action.step === 'create-and-start' &&
        (isKerbError(error, ErrorCode.ContainerFailed) || isKerbError(error, ErrorCode.GatewayUnavailable));
      if (!refusedStart) throw error;
      log.warn({ workload }, `workload ${workload} could not be started: ${messageOf(error)}`);
      this.#remember(workload, (memory) => rememberRefusedStart(memory, messageOf(error), Date.now()));
    }
  }

  #remember(workload: string, change: (memory: Memory) => Memory): void {
    const known = this.#memory.get(workload);
    if (known !== undefined) this.#memory = new Map(this.#memory).set(workload, change(known));
  }

  #accept(next: Plan): void {
    const before = this.#states;
    this.#memory = next.memory;
    this.#states = next.states;
    for (const [workload, state] of next.states) {
      const old = before.get(workload);
      if (old?.state === state.state && old.detail === state.detail && old.reason === state.reason) continue;
      const failed = state.state === 'Failed' || state.detail === 'BackingOff';
      const word = `${state.state}${state.detail === '' ? '' : `(${state.detail})`}`;
      this.#parts.log[failed ? 'warn' : 'info']({ workload }, `workload ${workload}: ${word}: ${state.reason}`);
      if (failed && state.detail !== 'ImageMissing') this.#parts.onFailure(workload, state.reason);
    }
  }

  async #sleep(ms: number): Promise<void> {
    if (this.#stopping || this.#triggered) return;
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

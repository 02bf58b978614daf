import { setTimeout as sleep } from 'node:timers/promises';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/errors.ts';
import type { Claim, Resources } from '../planner/capacity.ts';
import { rememberFreeze, rememberThaw } from '../planner/freeze.ts';
import { workloadOf } from '../planner/in-flight.ts';
import { plan } from '../planner/plan.ts';
import type { PressureKind } from '../planner/pressure.ts';
import { rememberRefusedStart, rememberStart } from '../planner/restart.ts';
import type { Action, Desired, Memory, ObservedContainer, Plan, PlanInput, WorkloadState } from '../planner/state.ts';
import { engineMessage, engineStatus } from './docker-client.ts';
import { EngineHealth } from './engine-health.ts';
import { ImageLooks } from './image-looks.ts';
import { Observer } from './observer.ts';
import { PRESSURE_SAMPLE_MS } from './pressure.ts';
import type { ReconcilerParts } from './reconciler-parts.ts';
import { SteadyClock } from './steady-clock.ts';
import { StepsInHand } from './steps-in-hand.ts';
import { WorkloadMemory } from './workload-memory.ts';

/** Looks at the engine this often even when nothing calls for it: an event can be lost. */
const RESYNC_MS = 10_000;
/** What a step has changed could not be looked at: again after this time. */
const LOOK_AGAIN_MS = 1000;
/** Longest sleep of one timer. */
const MAX_SLEEP_MS = 60_000;

/**
 * Observe, plan, carry out. Each event of the engine, each step that is done and each back-off that ends makes a new plan at
 * once, with the steps that are in hand; those that can begin, do, side by side. So nothing waits but for what it needs. What
 * the planner remembers is in the store before anything is done that depends on it.
 */
export class Reconciler {
  readonly #parts: ReconcilerParts;
  readonly #health = new EngineHealth();
  readonly #abort = new AbortController();
  readonly #clock = new SteadyClock();
  readonly #observer: Observer;
  readonly #images: ImageLooks;
  readonly #inHand = new StepsInHand();
  readonly #memory: WorkloadMemory;
  #desired: readonly Desired[];
  #states: ReadonlyMap<string, WorkloadState> = new Map();
  #used: Claim = { memory: 0, cpus: 0 };
  #cpuUse: ReadonlyMap<string, number> | undefined;
  #loops: Promise<unknown> | undefined;
  /** The engine has been looked at as a whole, and answers. */
  #answers = false;
  #turnIsDue = false;
  #timer: NodeJS.Timeout | undefined;
  /** After how many milliseconds the engine is looked at as a whole; undefined: when it is time again. */
  #nextLookMs: number | undefined;
  #wake: (() => void) | undefined;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.#desired = parts.desired;
    this.#memory = new WorkloadMemory(parts.store, parts.log);
    this.#observer = new Observer({
      ...{ engine: parts.engine, owner: parts.owner, stateHash: parts.stateHash, clock: this.#clock },
      ...{ onChange: () => this.trigger(), log: parts.log },
      onFailure: (error) => this.#engineFailed(error),
    });
    this.#images = new ImageLooks(() => this.#observer.lookAtImages(this.#imagesOf(this.#desired)));
  }

  start(): void {
    if (this.#loops !== undefined) return;
    this.#memory.load();
    this.#loops = Promise.all([this.#run(), this.#watchPressure()]);
  }

  /**
   * Begins nothing more, and returns when what was begun is done, but for containers that take their time to end. Containers
   * are left as they are.
   */
  async stop(): Promise<void> {
    this.#abort.abort();
    clearTimeout(this.#timer);
    this.#wake?.();
    this.#parts.runner.stopWaiting();
    await this.#loops;
    await this.#inHand.settled();
  }

  /** Something may have changed: plans again. What comes at the same time is in the same plan. */
  trigger(): void {
    if (this.#turnIsDue || this.#loops === undefined) return;
    this.#turnIsDue = true;
    setImmediate(() => {
      this.#turnIsDue = false;
      this.#turn();
    });
  }

  /** Something happened to this container. */
  hear(container: string): void {
    this.#observer.hear(container);
  }

  /** Images came or went. */
  hearOfImages(): void {
    if (this.#loops === undefined) return; // all is looked at then
    this.#images.ask().then(
      () => this.trigger(),
      (error: unknown) => this.#engineFailed(error),
    );
  }

  /** Events may have been lost. */
  lookAtAll(): void {
    this.#nextLookMs = 0;
    this.#wake?.();
  }

  /** The engine has ended, and what ran on it with it. @param isWatched See Observer. */
  engineEnded(isWatched: boolean): void {
    this.#observer.engineEnded(isWatched);
    this.#answers = false;
    this.lookAtAll();
  }

  /** From now on this is what is wanted; no further step for what was wanted before is begun. */
  setDesired(desired: readonly Desired[]): void {
    const before = new Map(this.#desired.map((one) => [one.workload.name, JSON.stringify(one)]));
    const states = new Map(this.#states);
    for (const one of desired) {
      const { name } = one.workload;
      // What is known of it is about something else; and an image may have come with the manifest.
      const isOutdated = before.get(name) !== JSON.stringify(one) || states.get(name)?.detail === 'ImageMissing';
      if (isOutdated) states.delete(name);
    }
    this.#states = states;
    this.#desired = desired;
    this.#images.need();
    this.hearOfImages();
  }

  /** The first steps on the way to this, with what runs now; nothing is done. @throws when the engine does not answer */
  async planNow(desired: readonly Desired[]): Promise<Plan> {
    const [images] = await Promise.all([this.#observer.idsOf(this.#imagesOf(desired)), this.#observer.lookAtAll()]);
    const input = this.#input(desired);
    return plan({ ...input, observed: { ...input.observed, images } });
  }

  /**
   * Freezes a workload until it is thawed, whatever else happens; also when it does not run now.
   * @throws KerbError UnknownWorkload
   */
  freeze(workload: string): void {
    this.#byPerson(workload, (memory) => rememberFreeze(memory, this.#clock.now()));
  }

  /** Takes back `freeze`, and thaws what somebody froze from outside. @throws KerbError UnknownWorkload */
  thaw(workload: string): void {
    this.#byPerson(workload, (memory) => rememberThaw(memory, this.#clock.now()));
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
    return this.#memory.of(workload).restarts;
  }

  /** What the planner remembers of it. */
  memory(workload: string): Memory {
    return this.#memory.of(workload);
  }

  /** Milliseconds since 1970, on the clock of what the planner remembers. */
  get nowMs(): number {
    return this.#clock.now();
  }

  /** Those of this OBU, as the engine showed them last. */
  get containers(): readonly ObservedContainer[] {
    return this.#observer.containers;
  }

  /** Looks at the engine as a whole, every now and then and when it is called for. */
  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      this.#nextLookMs = undefined;
      try {
        await Promise.all([this.#observer.lookAtAll(), this.#images.ask()]);
        this.#answers = true;
        if (!this.#inHand.hasRefused) this.#health.answered();
        this.trigger();
      } catch (error) {
        this.#engineFailed(error);
      }
      await this.#sleep();
    }
  }

  /** The engine does not answer: nothing is begun before it has been looked at again, some time later. */
  #engineFailed(error: unknown): void {
    if (this.#abort.signal.aborted || (!this.#answers && this.#nextLookMs !== undefined)) return;
    this.#answers = false;
    this.#nextLookMs = this.#complain(error);
    this.#wake?.();
  }

  /** @returns how long to leave it alone, in milliseconds */
  #complain(error: unknown): number {
    const { log, onEngineFault } = this.#parts;
    const waitMs = this.#health.failed(error, Date.now());
    const message = `the Docker Engine did not do what it was asked: ${this.#health.fault}`;
    log.warn(`${message}; trying again in ${waitMs / 1000} s`);
    if (this.#health.isFirstFailure) onEngineFault(message);
    return waitMs;
  }

  #imagesOf(desired: readonly Desired[]): string[] {
    return desired.flatMap(({ workload }) => {
      const known = this.#memory.of(workload.name);
      const ids = [known.version?.imageId, known.good?.imageId].filter((id) => id !== undefined);
      return [workload.image, ...ids];
    });
  }

  #input(desired: readonly Desired[]): PlanInput {
    const { owner, runner, pressure, resources, has, parked, held, seed } = this.#parts;
    const { containers, images, kept } = this.#observer;
    return {
      ...{ owner, desired, memory: this.#memory.all, has, parked: parked(), held: held(), seed },
      nowMs: this.#clock.now(),
      observed: runner.see({ containers, images, kept }),
      resources: { ...resources, pressure: pressure.levels },
      ...{ inFlight: this.#inHand.all, cpuUse: this.#cpuUse },
    };
  }

  #running(): ReadonlyMap<string, string> {
    return new Map(this.containers.flatMap((one) => (one.state === 'running' ? [[one.workload, one.id]] : [])));
  }

  /** Plans, and begins what can begin. */
  #turn(): void {
    if (this.#abort.signal.aborted || !this.#answers || !this.#images.isKnown) return;
    const input = this.#input(this.#desired);
    const { nowMs } = input;
    this.#parts.onRunning(this.#running());
    const next = plan(input);
    this.#accept(next);
    for (const step of next.ready) if (this.#inHand.mayBegin(step, nowMs)) this.#begin(step);

    const waits = next.steps.flatMap((step) => (step.step === 'wait' ? [step.untilMs] : []));
    const atMs = Math.min(...waits, this.#inHand.nextTryMs(next.ready, nowMs), nowMs + MAX_SLEEP_MS);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.trigger(), Math.max(1, atMs - nowMs));
  }

  #begin(step: Action): void {
    const { log, observer } = this.#parts;
    const workload = workloadOf(step);
    log.info({ workload, step: step.step }, `${step.step} ${workload}: ${step.why}`);
    observer?.onStep(workload, step.step, step.why);
    const run = async () => {
      if (await this.#carryOut(step)) await this.#seeResult(step);
    };
    this.#inHand.begin(step, run, () => this.trigger());
  }

  /** @returns false when it is known that nothing came of it */
  async #carryOut(step: Action): Promise<boolean> {
    const { runner, log, beforeRemove } = this.#parts;
    const workload = workloadOf(step);
    try {
      if (step.step === 'remove') await beforeRemove(step.container);
      await runner.run(step);
      this.#inHand.succeeded(step);
      if (step.step === 'create-and-start') this.#memory.changeKnown(workload, rememberStart);
    } catch (error) {
      if (this.#abort.signal.aborted) return false;
      const refusedStart =
        step.step === 'create-and-start' &&
        (isKerbError(error, ErrorCode.ContainerFailed) || isKerbError(error, ErrorCode.GatewayUnavailable));
      if (refusedStart) {
        log.warn({ workload }, `workload ${workload} could not be started: ${messageOf(error)}`);
        const nowMs = this.#clock.now();
        this.#memory.changeKnown(workload, (memory) => rememberRefusedStart(memory, messageOf(error), nowMs));
        return false;
      }
      if (engineStatus(error) !== undefined || isKerbError(error)) {
        // It answers: the others go on.
        this.#inHand.refused(step, this.#clock.now());
        this.#complain(error);
      } else {
        this.#engineFailed(error);
      }
    }
    return true;
  }

  /** A step is in hand until it is seen what came of it: the next plan is made from that. */
  async #seeResult(step: Action): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        if (step.step === 'keep-image' || step.step === 'release-image') return await this.#images.ask();
        const id = this.#parts.runner.containerOf(step);
        return id === undefined ? await this.#observer.lookAtAll() : await this.#observer.lookAt(id);
      } catch (error) {
        this.#parts.log.debug({ step: step.step }, `what a step has done cannot be seen: ${engineMessage(error)}`);
        await sleep(LOOK_AGAIN_MS, undefined, { signal }).catch(() => {}); // stopped: the loop ends
      }
    }
  }

  #byPerson(workload: string, change: (memory: Memory) => Memory): void {
    if (!this.#desired.some((one) => one.workload.name === workload)) {
      const known = this.#desired.map((one) => one.workload.name).join(', ') || 'none';
      throw new KerbError(ErrorCode.UnknownWorkload, `there is no workload "${workload}"; there is ${known}`, {
        workload,
      });
    }
    this.#memory.change(workload, change);
    this.trigger();
  }

  #accept(next: Plan): void {
    const before = this.#states;
    const { observer } = this.#parts;
    for (const [workload, { preempted }] of next.memory) {
      // What it was before this OBU was started has been told by the one before it.
      if (preempted !== undefined && preempted.atMs !== this.#memory.of(workload).preempted?.atMs)
        observer?.onPreempted(workload, preempted);
    }
    this.#memory.replace(next.memory);
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

  async #watchPressure(): Promise<void> {
    const { pressure, readPressure, readCpuUse, parked, log } = this.#parts;
    const { signal } = this.#abort;
    let wasParked = parked().holds;
    while (!signal.aborted) {
      const shed = (kind: PressureKind) =>
        [...this.#memory.all.values()].filter(({ preempted }) => preempted?.cause === `${kind}-pressure`).length;
      this.#cpuUse = readCpuUse(this.#running());
      const sheds = { memory: shed('memory'), cpu: shed('cpu') };
      if (readPressure !== undefined && pressure.add(readPressure(), sheds, performance.now())) {
        log.warn(`pressure: ${pressure.describe()}`);
        this.trigger();
      }
      // Whoever uses the CPU now may be another one than before, and an update may wait for the vehicle to be parked.
      const { holds } = parked();
      if (pressure.levels.cpu > 1 || holds !== wasParked) this.trigger();
      wasParked = holds;
      await sleep(PRESSURE_SAMPLE_MS, undefined, { signal }).catch(() => {}); // stopped: the loop ends
    }
  }

  /** Until the engine is to be looked at as a whole again. */
  async #sleep(): Promise<void> {
    let restMs = this.#nextLookMs ?? RESYNC_MS;
    while (restMs > 0 && !this.#abort.signal.aborted) {
      const begunMs = performance.now();
      const wish = this.#nextLookMs;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, restMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
      const isNew = this.#nextLookMs !== wish && this.#nextLookMs !== undefined;
      restMs = isNew ? this.#nextLookMs! : restMs - (performance.now() - begunMs);
    }
  }
}

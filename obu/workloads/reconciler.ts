import { steadyMs } from '../../shared/base/clock.ts';
import { rememberFreeze, rememberThaw } from '../planner/freeze.ts';
import { plan } from '../planner/plan.ts';
import type {
  Claim,
  Desired,
  ObservedContainer,
  Plan,
  PlanInput,
  Resources,
  WorkloadRecord,
  WorkloadState,
} from '../planner/state.ts';
import { PressureWatch } from '../resources/pressure-watch.ts';
import { EngineLooks } from './observation/engine-looks.ts';
import { ImageLooks, imagesOf } from './observation/image-looks.ts';
import { KnownStates, mustBeWanted } from './observation/known-states.ts';
import { Observer } from './observation/observer.ts';
import type { ReconcilerParts } from './reconciler-parts.ts';
import { reportPreempted, reportStates } from './report.ts';
import { RunningSteps } from './running-steps.ts';
import { StepWork } from './step-work.ts';
import { WorkloadRecords } from './workload-records.ts';

/** Longest sleep of one timer. */
const MAX_SLEEP_MS = 60_000;

/**
 * Observe, plan, carry out. Each event of the engine, each step that is done and each back-off that ends makes a new plan at
 * once, with the steps that are in hand; those that can begin, do, side by side. So nothing waits but for what it needs. What
 * the planner remembers is in the store before anything is done that depends on it.
 */
export class Reconciler {
  readonly #parts: ReconcilerParts;
  readonly #abort = new AbortController();
  readonly #observer: Observer;
  readonly #images: ImageLooks;
  readonly #looks: EngineLooks;
  readonly #pressure: PressureWatch;
  readonly #inHand = new RunningSteps();
  readonly #work: StepWork;
  readonly #memory: WorkloadRecords;
  #desired: readonly Desired[];
  readonly #states = new KnownStates();
  #used: Claim = { memory: 0, cpus: 0 };
  #loops: Promise<unknown> | undefined;
  #turnIsDue = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.#desired = parts.desired;
    this.#memory = new WorkloadRecords(parts.store, parts.log);
    this.#observer = new Observer({
      ...{ engine: parts.engine, owner: parts.owner, stateHash: parts.stateHash },
      ...{ onChange: () => this.trigger(), log: parts.log },
      onFailure: (error) => this.#looks.failed(error),
    });
    this.#images = new ImageLooks(() => this.#observer.lookAtImages(this.#imagesOf(this.#desired)));
    this.#looks = new EngineLooks({
      look: async () => {
        await Promise.all([this.#observer.lookAtAll(), this.#images.ask()]);
      },
      isAllDone: () => !this.#inHand.hasRefused,
      onLooked: () => this.trigger(),
      ...{ report: parts.report, log: parts.log, stopped: this.#abort.signal },
    });
    const { runner, beforeRemove, report, log } = parts;
    this.#work = new StepWork({
      ...{ runner, beforeRemove, report, log, inHand: this.#inHand, records: this.#memory },
      ...{ observer: this.#observer, images: this.#images, looks: this.#looks, stopped: this.#abort.signal },
    });
    this.#pressure = new PressureWatch({
      ...{ ladders: parts.pressure, read: parts.readPressure, readCpuUse: parts.readCpuUse, parked: parts.parked },
      running: () => this.#running(),
      preempted: () => [...this.#memory.all.values()].flatMap(({ preempted }) => preempted ?? []),
      ...{ onChange: () => this.trigger(), log: parts.log, stopped: this.#abort.signal },
    });
  }

  start(): void {
    if (this.#loops !== undefined) return;
    this.#memory.load();
    this.#loops = Promise.all([this.#looks.run(), this.#pressure.run()]);
  }

  /**
   * Begins nothing more, and returns when what was begun is done, but for containers that take their time to end. Containers
   * are left as they are.
   */
  async stop(): Promise<void> {
    this.#abort.abort();
    clearTimeout(this.#timer);
    this.#looks.wake();
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
      (error: unknown) => this.#looks.failed(error),
    );
  }

  /** Events may have been lost. */
  lookAtAll(): void {
    this.#looks.lookNow();
  }

  /** The engine has ended, and what ran on it with it. @param isWatched See Observer. */
  engineEnded(isWatched: boolean): void {
    this.#observer.engineEnded(isWatched);
    this.#looks.lookFirst();
  }

  /** From now on this is what is wanted; no further step for what was wanted before is begun. */
  setDesired(desired: readonly Desired[]): void {
    this.#states.follow(this.#desired, desired);
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
    // The time is for people only.
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
    return this.#looks.fault;
  }

  /** What the machine has and the workloads have of it, by their declared limits. */
  get resources(): Omit<Resources, 'pressure'> & { readonly used: Claim; readonly pressure: string } {
    const { resources, pressure, readPressure, engine } = this.#parts;
    const elsewhere = `not available: the engine is on another machine (${engine.host})`;
    return { ...resources, used: this.#used, pressure: readPressure === undefined ? elsewhere : pressure.describe() };
  }

  state(workload: string): WorkloadState {
    return this.#states.of(workload, this.#looks.answers);
  }

  restarts(workload: string): number {
    return this.#memory.of(workload).restarts;
  }

  /** What the planner remembers of it. */
  memory(workload: string): WorkloadRecord {
    return this.#memory.of(workload);
  }

  /** Milliseconds since 1970, on the clock of what the planner remembers. */
  get nowMs(): number {
    return steadyMs();
  }

  /** Those of this OBU, as the engine showed them last. */
  get containers(): readonly ObservedContainer[] {
    return this.#observer.containers;
  }

  #imagesOf(desired: readonly Desired[]): string[] {
    return imagesOf(desired, (workload) => this.#memory.of(workload));
  }

  #input(desired: readonly Desired[]): PlanInput {
    const { owner, runner, pressure, resources, has, parked, held, seed } = this.#parts;
    const { containers, images, kept } = this.#observer;
    return {
      ...{ owner, desired, records: this.#memory.all, has, parked: parked(), held: held(), seed },
      nowMs: steadyMs(),
      observed: runner.see({ containers, images, kept }),
      resources: { ...resources, pressure: pressure.levels },
      ...{ inFlight: this.#inHand.all, cpuUse: this.#pressure.cpuUse },
    };
  }

  #running(): ReadonlyMap<string, string> {
    return new Map(this.containers.flatMap((one) => (one.state === 'running' ? [[one.workload, one.id]] : [])));
  }

  /** Plans, and begins what can begin. */
  #turn(): void {
    if (this.#abort.signal.aborted || !this.#looks.answers || !this.#images.isKnown) return;
    const input = this.#input(this.#desired);
    const { nowMs } = input;
    this.#parts.onRunning(this.#running());
    const next = plan(input);
    this.#accept(next);
    for (const step of next.ready) if (this.#inHand.mayBegin(step, nowMs)) this.#work.begin(step, () => this.trigger());

    const waits = next.steps.flatMap((step) => (step.step === 'wait' ? [step.untilMs] : []));
    const atMs = Math.min(...waits, this.#inHand.nextTryMs(next.ready, nowMs), nowMs + MAX_SLEEP_MS);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.trigger(), Math.max(1, atMs - nowMs));
  }

  #byPerson(workload: string, change: (memory: WorkloadRecord) => WorkloadRecord): void {
    mustBeWanted(workload, this.#desired);
    this.#memory.change(workload, change);
    this.trigger();
  }

  #accept(next: Plan): void {
    reportPreempted(next, (workload) => this.#memory.of(workload), this.#parts.report);
    this.#memory.replace(next.records);
    this.#used = next.used;
    reportStates(this.#states.replace(next.states), next.states, this.#parts.report);
  }
}

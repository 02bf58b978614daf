import { type BackOff, backOffMs } from '../../shared/base/back-off.ts';
import { reservesOf } from '../planner/in-flight.ts';
import type { Action } from '../planner/state.ts';

/** Steps that the engine is busy with are few at a time; those that only wait for a container to end do not count there. */
type Lane = 'start' | 'stop' | 'other';

/** More starts at once only make each of them later, and what is more important waits for them. */
const MAX_AT_ONCE: { readonly [K in Lane]: number } = { start: 12, stop: 256, other: 16 };
/** After the engine refused a step. */
const DELAY: BackOff = { firstMs: 1000, longestMs: 30_000 };

interface Delay {
  readonly failures: number;
  readonly untilMs: number;
}

/** The steps that are being carried out, and those that are to wait because the engine has refused them. */
export class RunningSteps {
  readonly #steps = new Map<Action, Promise<void>>();
  readonly #delays = new Map<string, Delay>();

  get all(): readonly Action[] {
    return [...this.#steps.keys()];
  }

  /** Whether it may begin now. */
  mayBegin(step: Action, nowMs: number): boolean {
    const lane = laneOf(step);
    const untilMs = this.#delays.get(keyOf(step))?.untilMs ?? 0;
    return untilMs <= nowMs && this.all.filter((one) => laneOf(one) === lane).length < MAX_AT_ONCE[lane];
  }

  /** @param done Called when it is no longer in hand. */
  begin(step: Action, run: () => Promise<void>, done: () => void): void {
    const promise = run().finally(() => {
      this.#steps.delete(step);
      done();
    });
    this.#steps.set(step, promise);
  }

  succeeded(step: Action): void {
    this.#delays.delete(keyOf(step));
  }

  /** @returns how long it is left alone, in milliseconds */
  refused(step: Action, nowMs: number): number {
    const failures = (this.#delays.get(keyOf(step))?.failures ?? 0) + 1;
    const delayMs = backOffMs(failures, DELAY);
    this.#delays.set(keyOf(step), { failures, untilMs: nowMs + delayMs });
    return delayMs;
  }

  /** When the next of these may be tried again; infinity when none waits. */
  nextTryMs(steps: readonly Action[], nowMs: number): number {
    const keys = new Set(steps.map(keyOf));
    // What nobody wants any more is forgotten.
    for (const [key, { untilMs }] of this.#delays) if (untilMs <= nowMs && !keys.has(key)) this.#delays.delete(key);
    const times = [...this.#delays].flatMap(([key, { untilMs }]) =>
      keys.has(key) && untilMs > nowMs ? [untilMs] : [],
    );
    return Math.min(...times);
  }

  get hasRefused(): boolean {
    return this.#delays.size > 0;
  }

  /** Returns when nothing is in hand any more. */
  async settled(): Promise<void> {
    while (this.#steps.size > 0) await Promise.allSettled(this.#steps.values());
  }
}

function laneOf({ step }: Action): Lane {
  if (step === 'create-and-start') return 'start';
  return step === 'stop' ? 'stop' : 'other';
}

const keyOf = (step: Action): string => `${step.step} ${reservesOf(step)[0]}`;

import { judge, type LateLimits, type ProcessorUse } from './lateness.ts';
import { processorUse } from './processor-use.ts';

/** The first look is so long after the time when it should have been done: what is a moment late is not looked at. */
const FIRST_LOOK_MS = 50;

/** Looks after one thing that a tender does, and says when it is too late for it. One timer, and nothing read in time. */
export class LateWatch {
  readonly #pid: number | undefined;
  readonly #limits: LateLimits;
  readonly #giveUp: (starved: boolean) => void;
  readonly #dueAt: number;
  #first: ProcessorUse | undefined;
  #before: ProcessorUse | undefined;
  #timer: NodeJS.Timeout;
  #over = false;

  /**
   * @param dueMs from now; when it should be done
   * @param giveUp called once at most: it hangs, or it got no processor for too long
   */
  constructor(pid: number | undefined, dueMs: number, limits: LateLimits, giveUp: (starved: boolean) => void) {
    this.#pid = pid;
    this.#limits = limits;
    this.#giveUp = giveUp;
    this.#dueAt = performance.now() + dueMs;
    this.#timer = setTimeout(() => this.#lookFirst(), dueMs + FIRST_LOOK_MS);
  }

  /** It is done, or no longer of interest. */
  clear(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }

  #lookFirst(): void {
    this.#first = this.#look();
    this.#before = this.#first;
    this.#timer = setTimeout(() => this.#ring(), this.#limits.afterMs - FIRST_LOOK_MS);
  }

  /** An answer that waits in the socket, because this process was the slow one, is read before it is judged. */
  #ring(): void {
    setImmediate(() => {
      if (!this.#over) this.#judge();
    });
  }

  #judge(): void {
    const now = this.#look();
    // A timer may ring a little early.
    const overdueMs = performance.now() - this.#dueAt + 1;
    const verdict = judge(this.#limits, overdueMs, this.#first, this.#before, now);
    this.#before = now;
    if (verdict === 'wait') {
      this.#timer = setTimeout(() => this.#ring(), this.#limits.afterMs);
      return;
    }
    this.clear();
    this.#giveUp(verdict === 'starved');
  }

  #look(): ProcessorUse | undefined {
    return this.#pid === undefined ? undefined : processorUse(this.#pid);
  }
}

import type { Logger } from '../../../shared/base/log.ts';
import { EngineHealth } from '../../engine/engine-health.ts';
import type { Report } from '../../telemetry/report.ts';

/** Looks at the engine this often even when nothing calls for it: an event can be lost. */
const RESYNC_MS = 10_000;

export interface EngineLooksParts {
  /** Looks at all that there is. @throws errors of dockerode */
  readonly look: () => Promise<void>;
  /** Whether the engine has done all that it was asked. */
  readonly isAllDone: () => boolean;
  readonly onLooked: () => void;
  readonly report: Report;
  readonly log: Logger;
  readonly stopped: AbortSignal;
}

/** Looks at the engine as a whole, every now and then and when it is called for; less often while it does not answer. */
export class EngineLooks {
  readonly #parts: EngineLooksParts;
  readonly #health = new EngineHealth();
  #answers = false;
  /** After how many milliseconds the next look is; undefined: when it is time again. */
  #nextMs: number | undefined;
  #wake: (() => void) | undefined;

  constructor(parts: EngineLooksParts) {
    this.#parts = parts;
  }

  /** Whether the engine has been looked at as a whole, and answers. */
  get answers(): boolean {
    return this.#answers;
  }

  /** What is the matter with the engine; empty when it does what it is asked. */
  get fault(): string {
    return this.#health.fault;
  }

  /** Returns when it is stopped. */
  async run(): Promise<void> {
    const { look, isAllDone, onLooked, stopped } = this.#parts;
    while (!stopped.aborted) {
      this.#nextMs = undefined;
      try {
        await look();
        this.#answers = true;
        if (isAllDone()) this.#health.answered();
        onLooked();
      } catch (error) {
        this.failed(error);
      }
      await this.#sleep();
    }
  }

  wake(): void {
    this.#wake?.();
  }

  lookNow(): void {
    this.#nextMs = 0;
    this.wake();
  }

  /** What is known is of no use before the next look. */
  lookFirst(): void {
    this.#answers = false;
    this.lookNow();
  }

  /** The engine does not answer: it is looked at again some time later. */
  failed(error: unknown): void {
    const isKnown = !this.#answers && this.#nextMs !== undefined;
    if (this.#parts.stopped.aborted || isKnown) return;
    this.#answers = false;
    this.#nextMs = this.complain(error);
    this.wake();
  }

  /** @returns how long to leave it alone, in milliseconds */
  complain(error: unknown): number {
    const { log, report } = this.#parts;
    const waitMs = this.#health.failed(error);
    const message = `a call of the Docker Engine failed: ${this.#health.reason}`;
    log.warn({ reason: this.#health.reason, waitMs }, 'a call of the Docker Engine failed; trying again');
    if (this.#health.isFirstFailure) report({ event: 'engine-fault', reason: message });
    return waitMs;
  }

  async #sleep(): Promise<void> {
    const { stopped } = this.#parts;
    let restMs = this.#nextMs ?? RESYNC_MS;
    while (restMs > 0 && !stopped.aborted) {
      const begunMs = performance.now();
      const wish = this.#nextMs;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, restMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
      const next = this.#nextMs;
      restMs = next !== undefined && next !== wish ? next : restMs - (performance.now() - begunMs);
    }
  }
}

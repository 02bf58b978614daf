import { engineMessage, engineStatus } from './docker-client.ts';

/** After the engine did not do what it was asked; twice as long after each further time. */
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 30_000;

/** Whether the engine answers, since when not, and when to ask again. */
export class EngineHealth {
  #failures = 0;
  #silentSinceMs: number | undefined;
  #reason = '';

  answered(): void {
    this.#failures = 0;
    this.#silentSinceMs = undefined;
    this.#reason = '';
  }

  /** @returns how long to wait before it is asked again, in milliseconds */
  failed(error: unknown, nowMs: number): number {
    this.#reason = engineMessage(error);
    // An answer that refuses is an answer.
    if (engineStatus(error) === undefined) this.#silentSinceMs ??= nowMs;
    return Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(this.#failures++, 10));
  }

  get isFirstFailure(): boolean {
    return this.#failures === 1;
  }

  /** "not answering since …: why"; what it refused; empty when all is well. */
  get fault(): string {
    if (this.#silentSinceMs === undefined) return this.#reason;
    return `not answering since ${new Date(this.#silentSinceMs).toISOString()}: ${this.#reason}`;
  }
}

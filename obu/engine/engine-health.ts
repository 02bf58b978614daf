import { type BackOff, backOffMs } from '../../shared/base/back-off.ts';
import { engineMessage, engineStatus } from './docker-client.ts';

/** After the engine did not do what it was asked. */
const RETRY: BackOff = { firstMs: 1000, longestMs: 30_000 };

/** Tracks whether the engine answers, for how long it has not, and when to ask again. */
export class EngineHealth {
  readonly #now: () => number;
  #failures = 0;
  /** It did not answer. */
  #silent = false;
  #answeredAt: number;
  #reason = '';

  /** @param now milliseconds of a clock that is never set */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#answeredAt = now();
  }

  answered(): void {
    this.#failures = 0;
    this.#silent = false;
    this.#answeredAt = this.#now();
    this.#reason = '';
  }

  /** @returns how long to wait before it is asked again, in milliseconds */
  failed(error: unknown): number {
    this.#reason = engineMessage(error);
    // An answer that refuses is an answer.
    this.#silent = engineStatus(error) === undefined;
    if (!this.#silent) this.#answeredAt = this.#now();
    return backOffMs(++this.#failures, RETRY);
  }

  get isFirstFailure(): boolean {
    return this.#failures === 1;
  }

  /** Why it did not do what it was asked; the same text for the same reason. */
  get reason(): string {
    return this.#reason;
  }

  /** "no answer for 3.2 s: why"; what it refused; empty when all is well. */
  get fault(): string {
    if (!this.#silent) return this.#reason;
    return `no answer for ${((this.#now() - this.#answeredAt) / 1000).toFixed(1)} s: ${this.#reason}`;
  }
}

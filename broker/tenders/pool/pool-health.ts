import { ErrorCode, type KerbError } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import { type Refusal, refusal } from '../../../shared/base/refusal.ts';
import { afterFailure, afterStarvation, blockedUntil, type Health, WELL } from './health.ts';
import { isFinal, isStarved, quarantined } from './trouble.ts';

/** While no tender of a package has been started. */
const USUAL_START_MS = 10;

/** How a package fares: whether a tender of it may be started now, and why not. Times by `performance.now()`. */
export class PoolHealth {
  readonly #task: string;
  readonly #log: Logger;
  #health: Health = WELL;
  /** Why the last tender was lost; undefined when that is made good. */
  #trouble: KerbError | undefined;
  #final = false;
  #lost = 0;
  #restarts = 0;
  #startMs = USUAL_START_MS;

  /** @param task its name and version, for messages */
  constructor(task: string, log: Logger) {
    this.#task = task;
    this.#log = log;
  }

  /** There will never be a tender again. */
  get final(): boolean {
    return this.#final;
  }

  /** How long starts have taken lately. */
  get startMs(): number {
    return this.#startMs;
  }

  /** Tenders that were started in the place of lost ones. */
  get restarts(): number {
    return this.#restarts;
  }

  get trouble(): string | undefined {
    return this.#trouble?.message;
  }

  /** After a quarantine one tender is tried. */
  get onProbation(): boolean {
    return this.#health.state === 'quarantined';
  }

  isQuarantined(now: number): boolean {
    return this.#health.state === 'quarantined' && now < this.#health.until;
  }

  /** No tender may be started before this moment; Infinity: never. */
  get startAt(): number {
    return this.#final ? Number.POSITIVE_INFINITY : blockedUntil(this.#health);
  }

  /** Why there is no tender, and when there may be one; Infinity: never. */
  refusal(now: number): Refusal | undefined {
    if (this.#trouble === undefined) return undefined;
    const code = this.onProbation ? ErrorCode.PackageQuarantined : ErrorCode.TenderUnavailable;
    return refusal(code, this.#trouble.message, Math.max(0, this.startAt - now));
  }

  /** A tender is about to be started. */
  starting(): void {
    if (this.#lost === 0) return;
    this.#lost--;
    this.#restarts++;
  }

  /** A tender waits for calls. @param tookMs since it was asked for */
  started(tookMs: number): void {
    this.#startMs += (tookMs - this.#startMs) / 4;
    if (!this.#final) this.#trouble = undefined;
  }

  /** A tender has served a call. */
  served(): void {
    this.#health = WELL;
  }

  /** A tender was lost. @returns what is to be told of it */
  failed(error: KerbError): KerbError {
    const task = this.#task;
    let told = error;
    if (isFinal(error)) {
      this.#final = true;
      this.#log.error({ task, code: error.code, err: error.message }, 'cannot run the task');
    } else {
      const now = performance.now();
      const starved = isStarved(error);
      this.#lost++;
      this.#health = starved ? afterStarvation(this.#health, now) : afterFailure(this.#health, now);
      const waitMs = Math.round(blockedUntil(this.#health) - now);
      if (starved) {
        this.#log.warn({ task, code: error.code, err: error.message, waitMs }, 'a tender got no processor');
      } else if (this.#health.state === 'quarantined') {
        told = quarantined(task, waitMs, error);
        this.#log.error({ task, err: told.message, waitMs }, 'task in quarantine');
      } else {
        this.#log.warn({ task, code: error.code, err: error.message, waitMs }, 'restarting a tender');
      }
    }
    this.#trouble = told;
    return told;
  }
}

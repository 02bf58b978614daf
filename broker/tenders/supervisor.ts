import { ErrorCode, errorName, isKerbError, KerbError, messageOf } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import type { Tender, TenderOutcome, TenderState } from './tender.ts';

/** What came of a call: the tender's outcome, or why there is none. */
export type CallEnd =
  | { readonly outcome: TenderOutcome; readonly error?: undefined }
  | { readonly outcome?: undefined; readonly error: KerbError };

export interface SupervisorOptions {
  /** For the log: name and version of the task. */
  readonly task: string;
  /** A fresh tender with a verified image; called for each life. @throws KerbError */
  readonly createTender: () => Promise<Tender>;
  /** A tender waits and takes calls. */
  readonly onWaiting: () => void;
  /** A tender died, would not start, or is refused for good. */
  readonly onTrouble: (error: KerbError) => void;
  readonly log: Logger;
}

const FIRST_BACK_OFF_MS = 50;
const MAX_BACK_OFF_MS = 10_000;

/**
 * Keeps one tender of a package waiting. A tender that dies costs the call in flight and is replaced 50 ms later, and
 * ever later (up to 10 s) while it dies without serving a call. An image that is refused is not tried again.
 */
export class TenderSupervisor {
  readonly #options: SupervisorOptions;
  #tender: Tender | undefined;
  #state: TenderState = 'Stopped';
  #running = false;
  #isolation = '';
  #backOffMs = FIRST_BACK_OFF_MS;
  #retryAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #calls = 0;
  #restarts = 0;
  #trouble: KerbError | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  get state(): TenderState {
    return this.#state;
  }
  /** Of the tender that waits or waited last; empty before the first. */
  get isolation(): string {
    return this.#isolation;
  }
  get calls(): number {
    return this.#calls;
  }
  get restarts(): number {
    return this.#restarts;
  }
  /** Why there is no tender now. */
  get trouble(): KerbError | undefined {
    return this.#state === 'Dead' ? this.#trouble : undefined;
  }
  /** The image was refused: there will never be a tender. */
  get refused(): boolean {
    return this.trouble !== undefined && isFinal(this.trouble);
  }

  /** Milliseconds until the next try to start one; 0 when there is one or one is being started. */
  get retryInMs(): number {
    return this.#state === 'Dead' && this.#timer !== undefined ? Math.max(0, this.#retryAt - performance.now()) : 0;
  }

  /** Resolves when the first try is through, whatever came of it. */
  async start(): Promise<void> {
    this.#running = true;
    await this.#startTender();
  }

  async stop(): Promise<void> {
    this.#running = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const tender = this.#tender;
    this.#tender = undefined;
    this.#state = 'Stopped';
    await tender?.stop();
  }

  /**
   * Hands one call to the waiting tender; only in state Waiting. `done` is called exactly once, before the next
   * `onWaiting`.
   */
  call(input: Uint8Array, budgetMs: number, done: (end: CallEnd) => void): void {
    const tender = this.#tender;
    if (tender === undefined || this.#state !== 'Waiting') {
      throw new KerbError(
        ErrorCode.TenderUnavailable,
        `the tender of ${this.#options.task} is ${this.#state}, not Waiting`,
      );
    }
    this.#state = 'Busy';
    this.#calls++;
    tender.call(input, budgetMs).then(
      (outcome) => {
        this.#backOffMs = FIRST_BACK_OFF_MS;
        this.#release(tender);
        done({ outcome });
      },
      (cause: unknown) => {
        const error = isKerbError(cause)
          ? cause
          : new KerbError(
              ErrorCode.TenderDied,
              `the tender of ${this.#options.task} failed: ${messageOf(cause)}`,
              {},
              { cause },
            );
        if (isKerbError(error, ErrorCode.TenderDied)) this.#died(tender, error.message);
        else this.#release(tender);
        done({ error });
      },
    );
  }

  #release(tender: Tender): void {
    // A tender that died in the meantime, or was stopped, does not wait again.
    if (tender === this.#tender && this.#state === 'Busy') this.#state = 'Waiting';
  }

  async #startTender(): Promise<void> {
    this.#state = 'Loading';
    let tender: Tender | undefined;
    try {
      tender = await this.#options.createTender();
      if (!this.#running) return;
      this.#tender = tender;
      const started = tender;
      tender.onDeath((reason) => this.#died(started, reason));
      await tender.start();
      if (!this.#running || this.#tender !== tender) {
        await tender.stop();
        return;
      }
      this.#isolation = tender.isolation;
      this.#state = 'Waiting';
      this.#trouble = undefined;
    } catch (cause) {
      if (!this.#running || (tender !== undefined && this.#tender !== tender)) return;
      this.#tender = undefined;
      const error = isKerbError(cause)
        ? cause
        : new KerbError(
            ErrorCode.TenderUnavailable,
            `no tender for ${this.#options.task}: ${messageOf(cause)}`,
            {},
            { cause },
          );
      await tender?.stop();
      this.#failed(error);
      return;
    }
    this.#options.onWaiting();
  }

  #died(tender: Tender, reason: string): void {
    if (tender !== this.#tender || !this.#running) return;
    this.#tender = undefined;
    // Takes back what the dead process left: pipes, memory files.
    tender
      .stop()
      .catch((error: unknown) =>
        this.#options.log.warn({ err: messageOf(error) }, 'cleaning up after a tender failed'),
      );
    this.#failed(new KerbError(ErrorCode.TenderDied, `the tender of ${this.#options.task} died: ${reason}`));
  }

  #failed(error: KerbError): void {
    this.#state = 'Dead';
    this.#trouble = error;
    const { task, log, onTrouble } = this.#options;
    const final = isFinal(error);
    if (final) {
      log.error({ task, code: error.code, err: error.message }, 'a task cannot be run here');
    } else {
      const waitMs = this.#backOffMs;
      this.#backOffMs = Math.min(MAX_BACK_OFF_MS, waitMs * 2);
      this.#retryAt = performance.now() + waitMs;
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#restarts++;
        void this.#startTender();
      }, waitMs);
      log.warn({ task, error: errorName(error.code), err: error.message, waitMs }, 'a tender is started again');
    }
    onTrouble(error);
  }
}

/** What no second try can mend: the image itself is at fault. */
function isFinal(error: KerbError): boolean {
  return (
    error.code === ErrorCode.ImageRefused ||
    error.code === ErrorCode.BadTaskPackage ||
    error.code === ErrorCode.TaskPackageDigestMismatch ||
    error.code === ErrorCode.WrongArchitecture ||
    error.code === ErrorCode.TaskTooLarge
  );
}

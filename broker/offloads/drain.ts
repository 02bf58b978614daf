import type { DrainStatus } from '../../shared/api/status.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';

export interface DrainOptions {
  /** Counts what waits and runs. */
  readonly activity: {
    counts(): { readonly waiting: number; readonly running: number };
    whenIdle(signal: AbortSignal): Promise<void>;
  };
  /** Tells all vehicles that this broker will be there no longer than this, in milliseconds. */
  readonly notify: (endsInMs: number, tryBrokers: readonly string[]) => void;
  /** Tells all vehicles that it stays. */
  readonly recall: () => void;
  readonly onChange: (change: DrainChange) => void;
}

export interface DrainChange {
  readonly word: 'Draining' | 'Drained' | 'Serving';
  readonly by: string;
  readonly message: string;
}

export interface DrainRequest {
  /** How long vehicles are told that this broker will still be there. */
  readonly forMs: number;
  /** Brokers that they are sent to, in turn. */
  readonly to: readonly string[];
  /** Name of the caller that asks for it. */
  readonly by: string;
}

interface Draining extends DrainRequest {
  readonly startedAt: string;
  readonly endsAt: number;
  /** Ends the waiting for its end. */
  readonly over: AbortController;
}

/**
 * Takes a broker out of service and back in: nothing new is taken, what was taken comes to its end, and vehicles are told
 * where else to go. A repeated request still joins its offload or gets the result that is kept.
 */
export class Drain {
  readonly #options: DrainOptions;
  #draining: Draining | undefined;
  /** A stop cannot be taken back. */
  #isFinal = false;
  #next = 0;

  constructor(options: DrainOptions) {
    this.#options = options;
  }

  get active(): boolean {
    return this.#draining !== undefined;
  }

  /** Begins, or says something new of one that is under way. @param isFinal the broker stops after it */
  begin(request: DrainRequest, isFinal = false): DrainStatus {
    const before = this.#draining;
    before?.over.abort();
    const startedAt = before?.startedAt ?? new Date().toISOString();
    const to = request.to.length > 0 ? request.to : (before?.to ?? []);
    const endsAt = performance.now() + request.forMs;
    const draining: Draining = { ...request, to, startedAt, endsAt, over: new AbortController() };
    this.#draining = draining;
    this.#isFinal ||= isFinal;
    const { onChange } = this.#options;
    const others = to.length === 0 ? '' : `; vehicles are sent to ${to.join(', ')}`;
    const message = `for ${Math.round(request.forMs / 1000)} s${others}`;
    onChange({ word: 'Draining', by: request.by, message });
    this.notify();
    void this.#watch(draining);
    return this.status();
  }

  /** Serves again. @throws KerbError BadControlRequest when the broker stops */
  cancel(by: string): DrainStatus {
    if (this.#isFinal) {
      throw new KerbError(ErrorCode.BadControlRequest, 'this broker is stopping, which cannot be taken back');
    }
    const draining = this.#draining;
    if (draining !== undefined) {
      this.#draining = undefined;
      draining.over.abort();
      this.#options.onChange({ word: 'Serving', by, message: 'the drain was taken back' });
      this.#options.recall();
    }
    return this.status();
  }

  /** Tells vehicles once more, such as those that have heard a new announcement since. */
  notify(): void {
    const { endsInMs, tryBrokers, state } = this.status();
    if (state !== 'serving') this.#options.notify(endsInMs, tryBrokers);
  }

  /** Why nothing new is taken; undefined when it is. */
  refusal(): Refusal | undefined {
    const draining = this.#draining;
    if (draining === undefined) return undefined;
    const { to } = draining;
    const tryBroker = to.length === 0 ? undefined : to[this.#next++ % to.length];
    const message = `this broker ${this.#isFinal ? 'is stopping' : 'is being drained'}; use another one`;
    return { code: ErrorCode.BrokerStopping, message, retryAfterMs: 0, ...(tryBroker && { tryBroker }) };
  }

  status(): DrainStatus {
    const { activity } = this.#options;
    const counts = activity.counts();
    const draining = this.#draining;
    if (draining === undefined) return { state: 'serving', since: '', by: '', endsInMs: 0, tryBrokers: [], ...counts };
    const { startedAt: since, by, endsAt, to: tryBrokers } = draining;
    const state = counts.waiting + counts.running === 0 ? 'drained' : 'draining';
    return { state, since, by, endsInMs: Math.max(0, Math.round(endsAt - performance.now())), tryBrokers, ...counts };
  }

  async #watch(draining: Draining): Promise<void> {
    const { activity, onChange } = this.#options;
    await activity.whenIdle(draining.over.signal);
    if (this.#draining !== draining || draining.over.signal.aborted) return;
    onChange({ word: 'Drained', by: draining.by, message: 'nothing waits or runs any more' });
  }
}

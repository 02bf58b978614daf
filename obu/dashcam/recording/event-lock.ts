import { steadyMs } from '../../../shared/base/clock.ts';
import type { Condition } from '../../../shared/vss/condition.ts';
import { conditionValue, type SignalDatum, type SignalSource } from '../../../shared/vss/signal.ts';

/** Times that are locked before a condition holds and after it has ceased to, in milliseconds. */
export interface LockWindow {
  readonly beforeMs: number;
  readonly afterMs: number;
}

/** While the condition holds the lock is renewed this often, so that it is on the disk when the power goes. */
const RENEW_MS = 5000;

/**
 * Watches a condition over signals and has the recording locked around each time that it holds.
 * @param lock keeps what is recorded in this time, milliseconds of the steady clock
 */
export class EventLock {
  readonly #condition: Condition;
  readonly #window: LockWindow;
  readonly #signals: SignalSource;
  readonly #lock: (fromMs: number, toMs: number) => void;
  readonly #values = new Map<string, SignalDatum>();
  #unsubscribe: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** When it began to hold; undefined while it does not. */
  #sinceMs: number | undefined;
  #events = 0;

  constructor(
    condition: Condition,
    window: LockWindow,
    signals: SignalSource,
    lock: (fromMs: number, toMs: number) => void,
  ) {
    this.#condition = condition;
    this.#window = window;
    this.#signals = signals;
    this.#lock = lock;
  }

  /** How often it has begun to hold. */
  get events(): number {
    return this.#events;
  }

  start(): void {
    this.#unsubscribe ??= this.#signals.subscribe(new Set(this.#condition.paths), (values) => {
      for (const now of values) {
        const value = conditionValue(now);
        if (value === undefined) this.#values.delete(now.path);
        else this.#values.set(now.path, value);
      }
      this.#look();
    });
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    clearTimeout(this.#timer);
  }

  #look(): void {
    const holds = this.#condition.holds((path) => this.#values.get(path));
    if (holds === (this.#sinceMs !== undefined)) return;
    const nowMs = steadyMs();
    clearTimeout(this.#timer);
    if (holds) {
      this.#events++;
      this.#sinceMs = nowMs;
      this.#renew();
    } else {
      const sinceMs = this.#sinceMs!;
      this.#sinceMs = undefined;
      this.#follow(sinceMs - this.#window.beforeMs, nowMs + this.#window.afterMs);
    }
  }

  #renew(): void {
    const nowMs = steadyMs();
    this.#lock(this.#sinceMs! - this.#window.beforeMs, nowMs);
    this.#timer = setTimeout(() => this.#renew(), RENEW_MS);
  }

  /** Segments after the event are locked as they are recorded. */
  #follow(fromMs: number, untilMs: number): void {
    this.#lock(fromMs, Math.min(steadyMs(), untilMs));
    if (steadyMs() >= untilMs) return;
    this.#timer = setTimeout(() => this.#follow(fromMs, untilMs), Math.min(RENEW_MS, untilMs - steadyMs()));
  }
}

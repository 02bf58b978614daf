import type { TenderPool } from './pool.ts';
import { type PoolLimits, planPools } from './pool-plan.ts';

/** Plans for waiting offloads follow each other no faster than this, in milliseconds. */
const PLAN_EVERY_MS = 2;

/**
 * Carries out what `planPools` decides: at every change, when offloads wait, and when time itself changes something.
 */
export class TenderPools {
  readonly #limits: PoolLimits;
  readonly #queued: (pool: string) => number;
  readonly #pools = new Map<string, TenderPool>();
  /** Removed, and waiting for their last calls. */
  readonly #leaving = new Set<TenderPool>();
  readonly #starting = new Set<Promise<void>>();
  #running = false;
  #plannedAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #measureTimer: NodeJS.Timeout | undefined;

  /** `queued`: how many offloads wait for a pool. */
  constructor(limits: PoolLimits, queued: (pool: string) => number) {
    this.#limits = limits;
    this.#queued = queued;
  }

  add(pool: TenderPool): void {
    this.#pools.set(pool.name, pool);
  }

  /** Its tenders end, each after the call that it has. */
  remove(name: string): void {
    const pool = this.#pools.get(name);
    if (pool === undefined) return;
    this.#pools.delete(name);
    this.#leaving.add(pool);
    void pool.retire().then(() => this.#leaving.delete(pool));
  }

  /** Its tenders end now, in the middle of their calls too. */
  end(name: string): void {
    const pool = this.#pools.get(name);
    this.remove(name);
    void pool?.stop();
  }

  get pools(): readonly TenderPool[] {
    return [...this.#pools.values()];
  }

  /** Resolves when all that is to be started ahead has been tried once. */
  async start(): Promise<void> {
    this.#running = true;
    this.plan();
    while (this.#starting.size > 0) await Promise.all(this.#starting);
    if (!this.#running) return;
    this.#measureTimer = setInterval(() => void this.#measure(), this.#limits.idleMs);
  }

  /** Ends every tender. */
  async stop(): Promise<void> {
    this.#running = false;
    clearTimeout(this.#timer);
    clearInterval(this.#measureTimer);
    await Promise.all([...this.pools, ...this.#leaving].map((pool) => pool.stop()));
  }

  /** Offloads wait, and a tender more would help. Cheap to call often. */
  planSoon(): void {
    const at = this.#plannedAt + PLAN_EVERY_MS;
    if (performance.now() >= at) this.plan();
    else this.#wakeAt(at);
  }

  plan(): void {
    if (!this.#running) return;
    const now = performance.now();
    this.#plannedAt = now;
    const views = this.pools.map((pool) => pool.view(this.#queued(pool.name), now));
    const { steps, wakeAt } = planPools(views, this.#limits, now);
    clearTimeout(this.#timer);
    this.#timerAt = Number.POSITIVE_INFINITY;
    this.#wakeAt(wakeAt);
    for (const step of steps) {
      const pool = this.#pools.get(step.pool)!;
      if (step.step === 'let-go') {
        pool.letGo(step.tender);
      } else {
        const started = pool.start().finally(() => this.#starting.delete(started));
        this.#starting.add(started);
      }
    }
  }

  async #measure(): Promise<void> {
    for (const pool of this.#pools.values()) await pool.measure();
    this.plan();
  }

  #wakeAt(at: number): void {
    if (!this.#running || at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.plan(), Math.max(1, Math.ceil(at - performance.now())));
  }
}

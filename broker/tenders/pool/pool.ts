import type { Deadline } from '../../../shared/base/deadline.ts';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../../shared/base/errors.ts';
import type { Refusal } from '../../../shared/base/refusal.ts';
import { Demand } from './demand.ts';
import { countIn, type HeldTender, loadingTender, longIn, measured, viewOf } from './held-tender.ts';
import { PoolHealth } from './pool-health.ts';
import type { CallEnd, PoolOptions } from './pool-options.ts';
import type { PoolView } from './pool-plan.ts';
import { type KnownTender, knownOf, PoolUse } from './pool-use.ts';
import { asKerbError, isStarved } from './trouble.ts';

/**
 * The tenders of one package: starts and lets go as it is told, hands each call to the one that has waited longest, and
 * knows how the package fares. A tender that dies costs the call that it had.
 *
 * Hot path: `call` and `note` allocate nothing but the promise of the call.
 */
export class TenderPool {
  readonly #options: PoolOptions;
  readonly #held = new Set<HeldTender>();
  /** The longest waiting first: it has had most time to get ready again after its last call. */
  readonly #waiting: HeldTender[] = [];
  readonly #demand: Demand;
  readonly #health: PoolHealth;
  #stopped = false;
  #nextId = 1;
  readonly use = new PoolUse();
  #isolation = '';
  #measuredBytes = 0;
  #onEmpty: (() => void) | undefined;
  #usedAt = Number.NEGATIVE_INFINITY;
  #emptySince = Number.NEGATIVE_INFINITY;
  /** When there was no tender and the first one was loading. */
  #coldFrom = 0;
  #coldTo = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#demand = new Demand(options.idleMs);
    this.#health = new PoolHealth(options.task, options.log);
  }

  get name(): string {
    return this.#options.name;
  }
  get task(): string {
    return this.#options.task;
  }
  /** A tender takes a call at once. */
  get canCall(): boolean {
    return this.#waiting.length > 0;
  }
  get free(): number {
    return this.#waiting.length;
  }
  /** Of the tender that was ready last; empty before the first. */
  get isolation(): string {
    return this.#isolation;
  }
  /** Tenders that were started in the place of lost ones. */
  get restarts(): number {
    return this.#health.restarts;
  }
  /** There will never be a tender again. */
  get refused(): boolean {
    return this.#health.final && this.#held.size === 0;
  }
  get tenders(): readonly KnownTender[] {
    return [...this.#held].map(knownOf);
  }
  /** In one word: what an offload that comes now meets. */
  get state(): 'Waiting' | 'Busy' | 'Loading' | 'Quarantined' | 'Dead' | 'Stopped' {
    if (this.canCall) return 'Waiting';
    if (this.#busy > 0) return 'Busy';
    if (countIn(this.#held, 'Loading') > 0) return 'Loading';
    if (this.#health.isQuarantined(performance.now())) return 'Quarantined';
    return this.#health.trouble === undefined ? 'Stopped' : 'Dead';
  }
  /** Why there is no tender; undefined when there is one, or none was needed. */
  get trouble(): string | undefined {
    return this.state === 'Dead' || this.state === 'Quarantined' ? this.#health.trouble : undefined;
  }

  /** The tenders that an offload that comes now can count on; `startMs` is how long one more takes to start. */
  get outlook(): { readonly ready: number; readonly most: number; readonly startMs: number } {
    const { onProbation, startMs } = this.#health;
    return {
      ready: this.#waiting.length + this.#busy - longIn(this.#held),
      most: onProbation ? 1 : this.#options.maxTenders,
      startMs,
    };
  }

  /** Why an offload that comes now cannot be run, and when it may be worth another try; Infinity: never. */
  blocked(now: number): Refusal | undefined {
    if (this.canCall || this.#busy > 0 || countIn(this.#held, 'Loading') > 0) return undefined;
    return this.#health.refusal(now);
  }

  /** Notes that an offload has come at `now`, and that `queued` wait for a tender. True when one more tender would help. */
  note(queued: number, now: number): boolean {
    this.#usedAt = now;
    this.#demand.note(queued + this.#busy, now);
    return queued > 0 && this.#held.size < this.#options.maxTenders + longIn(this.#held);
  }

  view(queued: number, now: number): PoolView {
    this.#demand.note(queued + this.#busy, now);
    const { name, kept, maxTenders } = this.#options;
    return {
      name,
      queued,
      demand: this.#demand.peak,
      demandUntil: this.#demand.until,
      usedAt: this.#usedAt,
      emptySince: this.#emptySince,
      kept,
      startAt: this.#stopped ? Number.POSITIVE_INFINITY : this.#health.startAt,
      maxTenders: this.#health.onProbation ? 1 : maxTenders,
      long: longIn(this.#held),
      bytesEach: this.#expectedBytes,
      tenders: [...this.#held].map(viewOf),
    };
  }

  /** Milliseconds between these two moments that went into starting a tender while there was none. */
  coldMs(from: number, to: number): number {
    return Math.max(0, Math.min(to, this.#coldTo) - Math.max(from, this.#coldFrom));
  }

  /**
   * Hands one call to a tender; only while `canCall`. `done` is called exactly once.
   * @returns the tender, for `isLong` and `abort`
   * @throws KerbError TenderUnavailable when none waits
   */
  call(input: Uint8Array, deadline: Deadline, done: (end: CallEnd) => void): number {
    const held = this.#waiting.shift();
    const tender = held?.tender;
    if (held === undefined || tender === undefined) {
      throw new KerbError(ErrorCode.TenderUnavailable, `no tender of ${this.task} waits`);
    }
    held.state = 'Busy';
    this.use.calls++;
    tender.call(input, deadline.leftMs()).then(
      (outcome) => {
        this.#health.served();
        this.use.add(outcome);
        this.#release(held);
        done({ outcome, isolation: tender.isolation });
      },
      (cause: unknown) => {
        const error = asKerbError(cause, ErrorCode.TenderDied, `a tender of ${this.task} failed`);
        if (isKerbError(error, ErrorCode.TenderDied)) this.#died(held, error.message, isStarved(error));
        else this.#release(held);
        done({ error });
      },
    );
    return held.id;
  }

  /** The call of this tender goes on for long: the pool may have one more meanwhile. */
  isLong(id: number): void {
    for (const held of this.#held) if (held.id === id) held.long = true;
    this.#options.onChange();
  }

  /** Ends the tender of a call whose answer has no reader, and the call with it. */
  abort(id: number): void {
    for (const held of this.#held) {
      if (held.id === id && (held.state === 'Busy' || held.state === 'Retiring')) this.#end(held);
    }
  }

  /** Starts one more tender. Resolves when that has come to its end, whatever came of it. */
  async start(): Promise<void> {
    const now = performance.now();
    const held = loadingTender(this.#nextId++, this.#expectedBytes, now);
    if ([...this.#held].every(({ state }) => state === 'Leaving' || state === 'Retiring')) this.#coldFrom = now;
    this.#held.add(held);
    this.#health.starting();
    try {
      const tender = await this.#options.createTender();
      if (held.state !== 'Loading') return this.#remove(held);
      held.tender = tender;
      tender.onDeath((reason, starved) => this.#died(held, reason, starved));
      await tender.start();
    } catch (cause) {
      if (this.#stateOf(held) !== 'Loading') return;
      const error = asKerbError(cause, ErrorCode.TenderUnavailable, `no tender for ${this.task}`);
      await held.tender?.stop();
      if (this.#stateOf(held) === 'Loading') this.#failed(held, error);
      return;
    }
    if (this.#stateOf(held) !== 'Loading') return;
    this.#isolation = held.tender.isolation;
    this.#health.started(performance.now() - held.startedAt);
    if (this.#coldFrom > this.#coldTo) this.#coldTo = performance.now();
    this.#release(held, 'Loading');
    this.#options.onWaiting();
    await this.measure();
    this.#options.onChange();
  }

  /** Ends a tender: now when it waits or loads, after its call when it is busy. */
  letGo(id: number): void {
    for (const held of this.#held) {
      if (held.id !== id) continue;
      if (held.state === 'Busy') held.state = 'Retiring';
      else if (held.state === 'Waiting' || held.state === 'Loading') this.#end(held);
    }
  }

  /** Measures what waits and has been used since it was last measured. */
  async measure(): Promise<void> {
    for (const held of [...this.#waiting]) {
      const bytes = await measured(held);
      if (bytes !== undefined) this.#measuredBytes = Math.max(this.#measuredBytes, bytes);
    }
  }

  /** Lets every tender go, and has no other ever. Resolves when the last one is gone. */
  async retire(): Promise<void> {
    this.#stopped = true;
    for (const { id } of [...this.#held]) this.letGo(id);
    if (this.#held.size > 0) await new Promise<void>((resolve) => (this.#onEmpty = resolve));
  }

  /** Ends every tender, at once. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const held of this.#held) if (held.state !== 'Leaving') this.#end(held);
    await Promise.all([...this.#held].map(({ gone }) => gone));
  }

  /** Bytes that one tender holds: as measured, and until then as its package declares. */
  get #expectedBytes(): number {
    return this.#measuredBytes === 0 ? this.#options.declaredBytes : this.#measuredBytes;
  }

  /** Calls under way. */
  get #busy(): number {
    return countIn(this.#held, 'Busy') + countIn(this.#held, 'Retiring');
  }

  #stateOf(held: HeldTender): HeldTender['state'] | undefined {
    return this.#held.has(held) ? held.state : undefined;
  }

  #release(held: HeldTender, from: 'Busy' | 'Loading' = 'Busy'): void {
    if (!this.#held.has(held)) return; // it died in the meantime
    held.long = false;
    if (held.state === 'Retiring') {
      this.#end(held);
    } else if (held.state === from) {
      held.state = 'Waiting';
      held.freeSince = performance.now();
      this.#waiting.push(held);
    }
  }

  #end(held: HeldTender): void {
    this.#unlist(held);
    held.state = 'Leaving';
    const stopped = held.tender?.stop() ?? Promise.resolve();
    held.gone = stopped
      .catch((error: unknown) => this.#options.log.warn({ err: messageOf(error) }, 'ending a tender failed'))
      .then(() => this.#remove(held));
  }

  #unlist(held: HeldTender): void {
    const at = this.#waiting.indexOf(held);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  #remove(held: HeldTender): void {
    if (!this.#held.delete(held)) return;
    if (this.#held.size === 0) {
      this.#emptySince = performance.now();
      this.#onEmpty?.();
    }
    this.#options.onChange();
  }

  #died(held: HeldTender, reason: string, starved = false): void {
    if (!this.#held.has(held) || held.state === 'Leaving' || held.state === 'Loading') return;
    this.#unlist(held);
    const { log, task } = this.#options;
    // Takes back what the dead process left: pipes, memory files.
    held.tender
      ?.stop()
      .catch((error: unknown) => log.warn({ err: messageOf(error) }, 'cleaning up after a tender failed'));
    this.#failed(held, new KerbError(ErrorCode.TenderDied, `a tender of ${task} died: ${reason}`, { starved }));
  }

  #failed(held: HeldTender, error: KerbError): void {
    const told = this.#health.failed(error);
    this.#remove(held);
    this.#options.onTrouble(told);
  }
}

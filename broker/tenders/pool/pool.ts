import type { Deadline } from '../../../shared/base/deadline.ts';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import { type Refusal, refusal } from '../../../shared/base/refusal.ts';
import { footprintOf } from '../process/footprint.ts';
import type { Isolation, Tender, TenderOutcome } from '../process/tender.ts';
import { Demand } from './demand.ts';
import { afterFailure, blockedUntil, type Health, WELL } from './health.ts';
import type { PoolView, TenderView } from './pool-plan.ts';
import { asKerbError, isFinal, quarantined } from './trouble.ts';

/** What came of a call: the tender's outcome, or why there is none. */
export type CallEnd =
  | { readonly outcome: TenderOutcome; readonly isolation: Isolation; readonly error?: undefined }
  | { readonly outcome?: undefined; readonly error: KerbError };

export interface PoolOptions {
  /** Names the pool: the digest of the package. */
  readonly name: string;
  /** For messages: name and version of the task. */
  readonly task: string;
  /** Bytes that one tender may hold by what its package declares. */
  readonly declaredBytes: number;
  readonly kept: boolean;
  /** Tenders that it may have. */
  readonly maxTenders: number;
  /** How long the most offloads at the same time are remembered, in milliseconds. */
  readonly idleMs: number;
  /** A fresh tender with a verified image; called for each life. @throws KerbError */
  readonly createTender: () => Promise<Tender>;
  /** A tender waits and takes calls. */
  readonly onWaiting: () => void;
  /** A tender died, would not start, or is refused for good. */
  readonly onTrouble: (error: KerbError) => void;
  /** Something has changed that a plan depends on. */
  readonly onChange: () => void;
  readonly log: Logger;
}

interface Held {
  readonly id: number;
  readonly startedAt: number;
  tender: Tender | undefined;
  state: TenderView['state'];
  bytes: number;
  freeSince: number;
  /** `freeSince` when its memory was last measured. */
  measuredAt: number;
  /** Settles when it is gone. */
  gone: Promise<void>;
}

/**
 * The tenders of one package: starts and lets go as it is told, hands each call to the one that has waited longest, and
 * knows how the package fares. A tender that dies costs the call that it had.
 *
 * Hot path: `call` and `note` allocate nothing but the promise of the call.
 */
export class TenderPool {
  readonly #options: PoolOptions;
  readonly #held = new Set<Held>();
  /** The longest waiting first: it has had most time to get ready again after its last call. */
  readonly #waiting: Held[] = [];
  readonly #demand: Demand;
  #health: Health = WELL;
  /** Why the last tender was lost; undefined when that is made good. */
  #trouble: KerbError | undefined;
  #final = false;
  #stopped = false;
  #nextId = 1;
  #calls = 0;
  #cpuMs = 0;
  #peakMemory = 0;
  #lost = 0;
  #restarts = 0;
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
  /** Of the tender that was ready last; empty before the first. */
  get isolation(): string {
    return this.#isolation;
  }
  get calls(): number {
    return this.#calls;
  }
  /** Milliseconds that all calls together have computed. */
  get cpuMs(): number {
    return this.#cpuMs;
  }
  /** Bytes of its own memory that the call with the most of it had in use. */
  get peakMemory(): number {
    return this.#peakMemory;
  }
  /** Tenders that were started in the place of lost ones. */
  get restarts(): number {
    return this.#restarts;
  }
  /** There will never be a tender again. */
  get refused(): boolean {
    return this.#final && this.#held.size === 0;
  }
  get tenders(): readonly (TenderView & { readonly isolation: string })[] {
    return [...this.#held].map((held) => ({ ...viewOf(held), isolation: held.tender?.isolation ?? '' }));
  }
  /** In one word: what an offload that comes now meets. */
  get state(): 'Waiting' | 'Busy' | 'Loading' | 'Quarantined' | 'Dead' | 'Stopped' {
    if (this.canCall) return 'Waiting';
    if (this.#busy > 0) return 'Busy';
    if (this.#count('Loading') > 0) return 'Loading';
    if (this.#health.state === 'quarantined' && performance.now() < this.#health.until) return 'Quarantined';
    return this.#trouble === undefined ? 'Stopped' : 'Dead';
  }
  /** Why there is no tender; undefined when there is one, or none was needed. */
  get trouble(): string | undefined {
    return this.state === 'Dead' || this.state === 'Quarantined' ? this.#trouble?.message : undefined;
  }

  /** Why an offload that comes now cannot be run, and when it may be worth another try; Infinity: never. */
  blocked(now: number): Refusal | undefined {
    const trouble = this.#trouble;
    if (trouble === undefined || this.canCall || this.#busy > 0 || this.#count('Loading') > 0) return undefined;
    const retryAfterMs = this.#final ? Number.POSITIVE_INFINITY : Math.max(0, blockedUntil(this.#health) - now);
    const code = this.#health.state === 'quarantined' ? ErrorCode.PackageQuarantined : ErrorCode.TenderUnavailable;
    return refusal(code, trouble.message, retryAfterMs);
  }

  /** Notes that an offload has come at `now`, and that `queued` wait for a tender. True when one more tender would help. */
  note(queued: number, now: number): boolean {
    this.#usedAt = now;
    this.#demand.note(queued + this.#busy, now);
    return queued > 0 && this.#held.size < this.#options.maxTenders;
  }

  view(queued: number, now: number): PoolView {
    this.#demand.note(queued + this.#busy, now);
    const { name, kept, declaredBytes, maxTenders } = this.#options;
    const onProbation = this.#health.state === 'quarantined';
    return {
      name,
      queued,
      demand: this.#demand.peak,
      demandUntil: this.#demand.until,
      usedAt: this.#usedAt,
      emptySince: this.#emptySince,
      kept,
      startAt: this.#final || this.#stopped ? Number.POSITIVE_INFINITY : blockedUntil(this.#health),
      maxTenders: onProbation ? 1 : maxTenders,
      bytesEach: this.#measuredBytes === 0 ? declaredBytes : this.#measuredBytes,
      tenders: [...this.#held].map(viewOf),
    };
  }

  /** Milliseconds between these two moments that went into starting a tender while there was none. */
  coldMs(from: number, to: number): number {
    return Math.max(0, Math.min(to, this.#coldTo) - Math.max(from, this.#coldFrom));
  }

  /**
   * Hands one call to a tender; only while `canCall`. `done` is called exactly once.
   * @throws KerbError TenderUnavailable when none waits
   */
  call(input: Uint8Array, deadline: Deadline, done: (end: CallEnd) => void): void {
    const held = this.#waiting.shift();
    const tender = held?.tender;
    if (held === undefined || tender === undefined) {
      throw new KerbError(ErrorCode.TenderUnavailable, `no tender of ${this.task} waits`);
    }
    held.state = 'Busy';
    this.#calls++;
    tender.call(input, deadline.leftMs()).then(
      (outcome) => {
        this.#health = WELL;
        this.#cpuMs += outcome.cpuMs;
        this.#peakMemory = Math.max(this.#peakMemory, outcome.peakMemory);
        this.#release(held);
        done({ outcome, isolation: tender.isolation });
      },
      (cause: unknown) => {
        const error = asKerbError(cause, ErrorCode.TenderDied, `a tender of ${this.task} failed`);
        if (isKerbError(error, ErrorCode.TenderDied)) this.#died(held, error.message);
        else this.#release(held);
        done({ error });
      },
    );
  }

  /** Starts one more tender. Resolves when that has come to its end, whatever came of it. */
  async start(): Promise<void> {
    const now = performance.now();
    const held: Held = {
      id: this.#nextId++,
      startedAt: now,
      tender: undefined,
      state: 'Loading',
      bytes: this.#measuredBytes === 0 ? this.#options.declaredBytes : this.#measuredBytes,
      freeSince: now,
      measuredAt: Number.NEGATIVE_INFINITY,
      gone: Promise.resolve(),
    };
    if ([...this.#held].every(({ state }) => state === 'Leaving' || state === 'Retiring')) this.#coldFrom = now;
    this.#held.add(held);
    if (this.#lost > 0) {
      this.#lost--;
      this.#restarts++;
    }
    try {
      const tender = await this.#options.createTender();
      if (held.state !== 'Loading') return this.#remove(held);
      held.tender = tender;
      tender.onDeath((reason) => this.#died(held, reason));
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
    if (!this.#final) this.#trouble = undefined;
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
      const { freeSince } = held;
      const pid = held.tender?.pid;
      if (pid === undefined || held.measuredAt === freeSince) continue;
      const bytes = await footprintOf(pid);
      // With a call under way it would have been something else.
      if (bytes === undefined || held.state !== 'Waiting' || held.freeSince !== freeSince) continue;
      held.measuredAt = freeSince;
      held.bytes = bytes;
      this.#measuredBytes = Math.max(this.#measuredBytes, bytes);
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

  /** Calls under way. */
  get #busy(): number {
    return this.#count('Busy') + this.#count('Retiring');
  }

  #count(wanted: Held['state']): number {
    let count = 0;
    for (const { state } of this.#held) if (state === wanted) count++;
    return count;
  }

  #stateOf(held: Held): Held['state'] | undefined {
    return this.#held.has(held) ? held.state : undefined;
  }

  #release(held: Held, from: 'Busy' | 'Loading' = 'Busy'): void {
    if (!this.#held.has(held)) return; // it died in the meantime
    if (held.state === 'Retiring') {
      this.#end(held);
    } else if (held.state === from) {
      held.state = 'Waiting';
      held.freeSince = performance.now();
      this.#waiting.push(held);
    }
  }

  #end(held: Held): void {
    this.#unlist(held);
    held.state = 'Leaving';
    const stopped = held.tender?.stop() ?? Promise.resolve();
    held.gone = stopped
      .catch((error: unknown) => this.#options.log.warn({ err: messageOf(error) }, 'ending a tender failed'))
      .then(() => this.#remove(held));
  }

  #unlist(held: Held): void {
    const at = this.#waiting.indexOf(held);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  #remove(held: Held): void {
    if (!this.#held.delete(held)) return;
    if (this.#held.size === 0) {
      this.#emptySince = performance.now();
      this.#onEmpty?.();
    }
    this.#options.onChange();
  }

  #died(held: Held, reason: string): void {
    if (!this.#held.has(held) || held.state === 'Leaving' || held.state === 'Loading') return;
    this.#unlist(held);
    const { log, task } = this.#options;
    // Takes back what the dead process left: pipes, memory files.
    held.tender
      ?.stop()
      .catch((error: unknown) => log.warn({ err: messageOf(error) }, 'cleaning up after a tender failed'));
    this.#failed(held, new KerbError(ErrorCode.TenderDied, `a tender of ${task} died: ${reason}`));
  }

  #failed(held: Held, error: KerbError): void {
    const { task, log, onTrouble } = this.#options;
    const now = performance.now();
    let told = error;
    if (isFinal(error)) {
      this.#final = true;
      log.error({ task, code: error.code, err: error.message }, 'cannot run the task');
    } else {
      this.#lost++;
      this.#health = afterFailure(this.#health, now);
      const waitMs = Math.round(blockedUntil(this.#health) - now);
      if (this.#health.state === 'quarantined') {
        told = quarantined(task, waitMs, error);
        log.error({ task, err: told.message, waitMs }, 'task in quarantine');
      } else {
        log.warn({ task, code: error.code, err: error.message, waitMs }, 'restarting a tender');
      }
    }
    this.#trouble = told;
    this.#remove(held);
    onTrouble(told);
  }
}

function viewOf({ id, state, bytes, startedAt, freeSince }: Held): TenderView {
  return { id, state, bytes, startedAt, freeSince };
}

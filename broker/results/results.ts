/**
 * The broker's end of "exactly one result": the same request joins the run that is under way, or gets the result that is
 * kept (docs/internals/results.md). What has failed is forgotten.
 *
 * Hot path: what is not kept costs two small objects; what is kept in memory is hashed when its answer is on its way.
 */
import { ErrorCode } from '../../shared/base/errors.ts';
import { KeptSet, type KeptTotals } from '../../shared/base/once/kept-set.ts';
import { type Found, UnderWay } from '../../shared/base/once/once.ts';
import { RecentKeys } from '../../shared/base/once/recent-keys.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';
import {
  type Answer,
  type IncomingOffload,
  type PendingOffload,
  stateText,
  type TaskResult,
} from '../offloads/offload.ts';
import type { ResultMetrics } from '../telemetry/result-metrics.ts';
import type { ResultLimits } from '../tenants/policy.ts';
import { sha256Of } from './input-hash.ts';
import { KeptAnswers } from './kept-answers.ts';
import { addReceipt, type KeptResult, keptFrom, rowOf } from './kept-result.ts';
import type { ReceiptSigner } from './receipt-signer.ts';
import type { ResultStore } from './result-store.ts';
import type { StoredRow } from './stored-result.ts';

export interface ResultsOptions {
  readonly broker: string;
  /** Asked each time. */
  readonly limitsOf: (tenant: string) => ResultLimits;
  readonly totals: KeptTotals;
  readonly receipts: ReceiptSigner;
  readonly metrics: ResultMetrics;
}

/** The terms of all callers of one run together. */
interface Terms {
  keepMs: number;
  durable: boolean;
  wantReceipt: boolean;
}

/** Ids whose results were given out and are not kept any more: a run for one of them is a second one. */
const REMEMBERED_IDS = 20_000;

export class Results {
  readonly #options: ResultsOptions;
  readonly #underWay = new UnderWay<PendingOffload>();
  readonly #terms = new Map<PendingOffload, Terms>();
  readonly #kept: KeptSet<KeptResult>;
  readonly #keptAnswers: KeptAnswers;
  readonly #given = new RecentKeys(REMEMBERED_IDS);
  #store: ResultStore | undefined;

  constructor(options: ResultsOptions) {
    this.#options = options;
    const { limitsOf, totals, metrics } = options;
    this.#kept = new KeptSet<KeptResult>({
      limitsOf,
      totals,
      onDropped: (item, why) => {
        metrics.ended(why);
        this.#forgotten(item);
      },
    });
    const { broker, receipts } = options;
    this.#keptAnswers = new KeptAnswers({
      ...{ broker, receipts, metrics },
      kept: this.#kept,
      store: () => this.#store,
      lose: (item) => this.#lose(item),
    });
    metrics.watch(() => this.status());
  }

  /** Until then, nothing goes to the disk. */
  useStore(store: ResultStore): void {
    this.#store = store;
  }

  /** Offloads that are under way, or whose results are being written. */
  get pending(): number {
    return this.#underWay.size;
  }

  status() {
    const { count, memoryBytes, diskBytes } = this.#kept;
    return { count, memoryBytes, diskBytes, reason: this.#store?.trouble ?? '' };
  }

  keptOf(tenant: string): { readonly count: number; readonly bytes: number } {
    return this.#kept.useOf(tenant);
  }

  /** Takes over what is on the disk: at the start, and again after what was there has been damaged. */
  load(rows: readonly StoredRow[]): void {
    const now = performance.now();
    const there = new Set(rows.map(({ key }) => key));
    for (const item of [...this.#kept.values()]) {
      if (item.onDisk && !there.has(item.key)) this.#lose(item);
    }
    for (const row of rows) {
      if (this.#kept.get(row.key, now) !== undefined) continue;
      if (!this.#kept.add(keptFrom(row, now), now)) this.#store?.remove(row.key);
    }
  }

  /** Why an offload on these terms is not taken. */
  refusal({ wantReceipt }: IncomingOffload): Refusal | undefined {
    const { why } = this.#options.receipts;
    if (!wantReceipt || why === '') return undefined;
    return refusal(ErrorCode.NotSupported, `no receipt can be given: ${why}; use another broker, or want none`);
  }

  /** Only looks. A run that is under way can be joined: see `join`. */
  find(key: string, offload: IncomingOffload): Found<PendingOffload, KeptResult> {
    const found = this.#underWay.find(key, offload.taskDigest, offload.input);
    if (found.found !== 'nothing') return found;
    const item = this.#kept.get(key, performance.now());
    if (item === undefined) return found;
    if (item.task !== offload.taskDigest || item.state !== stateText(offload.state)) return { found: 'conflict' };
    if (offload.isolation === 'vm' && item.isolation !== 'vm') return { found: 'conflict' };
    return { found: 'result', result: item };
  }

  /** Only after `find` has found nothing, and once it is admitted. */
  begin(pending: PendingOffload): void {
    const { key, taskDigest, input, keepMs, durable, wantReceipt } = pending;
    if (this.#given.has(key)) this.#options.metrics.secondRun();
    this.#underWay.begin(key, taskDigest, input, pending);
    // A result with state is on the disk already when it comes.
    this.#terms.set(pending, { keepMs, durable: durable && pending.state === undefined, wantReceipt });
  }

  /** One more waits for a run that is under way: its result is kept for whoever wants it longest. */
  join(pending: PendingOffload, { keepMs, durable, wantReceipt }: IncomingOffload): void {
    const terms = this.#terms.get(pending);
    if (terms === undefined) return;
    terms.keepMs = Math.max(terms.keepMs, keepMs);
    terms.durable ||= durable && pending.state === undefined;
    terms.wantReceipt ||= wantReceipt;
    this.#options.metrics.joined();
  }

  /** It has failed, or was cancelled. Nothing happens when the key belongs to another one by now. */
  forget(pending: PendingOffload): void {
    this.#underWay.end(pending.key, pending);
    this.#terms.delete(pending);
  }

  /**
   * It has succeeded. `done` is called once, with the result as it is to be given out: at once, or when it is on the disk,
   * or at the end of the budget. Whoever joins until then is among the callers of the run.
   * @param startedAt of the run, of `performance.now()`
   */
  complete(pending: PendingOffload, result: TaskResult, startedAt: number, done: (result: TaskResult) => void): void {
    const terms = this.#terms.get(pending);
    if (terms === undefined) {
      done(result);
      return;
    }
    const keepMs = Math.min(terms.keepMs, this.#options.limitsOf(pending.tenant).keepMs);
    if (!terms.wantReceipt && !(terms.durable && keepMs > 0)) {
      this.forget(pending);
      done(result);
      if (keepMs > 0) this.#keepInMemory(pending, result, startedAt, keepMs);
      else this.#given.add(pending.key);
      return;
    }
    void this.#finish(pending, terms, { result, startedAt, keepMs, done });
  }

  /**
   * Gives out a result that is kept.
   * @param again it is not there any more, and has to be run: called in place of `answer`
   */
  give(item: KeptResult, offload: IncomingOffload, answer: Answer, again: () => void): void {
    this.#keptAnswers.give(item, offload, answer, again);
  }

  /** Removes the results of this tenant. @returns how many results */
  forgetTenant(tenant: string): number {
    const items = [...this.#kept.values()].filter(({ owner }) => owner === tenant);
    for (const item of items) this.#lose(item);
    return items.length;
  }

  /** Forgets what is under way; what is on the disk stays there. */
  stop(): void {
    this.#underWay.clear();
    this.#terms.clear();
    this.#kept.clear();
  }

  #keepInMemory(pending: PendingOffload, result: TaskResult, startedAt: number, keepMs: number): void {
    const item = keptFrom({ pending, result, startedAt, keepMs }, performance.now());
    if (!this.#kept.fits(item.owner, item.bytes, false)) {
      this.#notKept(item);
      return;
    }
    this.#kept.add(item, item.keptAt);
    this.#options.metrics.kept('memory');
    if (typeof item.input !== 'string') {
      void sha256Of(item.input).then((digest) => {
        item.input = digest;
      });
    }
  }

  async #finish(pending: PendingOffload, terms: Terms, end: End): Promise<void> {
    const { result, startedAt, keepMs } = end;
    const item = keptFrom({ pending, result, startedAt, keepMs }, performance.now());
    const content = item.content!;
    if (typeof item.input !== 'string') item.input = await sha256Of(item.input);
    if (terms.wantReceipt) addReceipt(item, await this.#keptAnswers.sign(item, content));
    let isAnswered = false;
    const settle = (onDisk: boolean): void => {
      if (!isAnswered) this.#settle(pending, item, end, onDisk);
      else if (onDisk) this.#moveToDisk(item);
      isAnswered = true;
    };
    const store = this.#store;
    const isForDisk = terms.durable && keepMs > 0 && this.#kept.fits(item.owner, item.bytes, true);
    if (!isForDisk || !store?.accepts(item.size)) {
      settle(false);
      return;
    }
    // An answer that is on the disk and too late is worth less than one in time.
    const timer = setTimeout(() => settle(false), pending.deadline.timerMs());
    store.put(rowOf(item, content), (onDisk) => {
      clearTimeout(timer);
      settle(onDisk);
    });
  }

  #settle(pending: PendingOffload, item: KeptResult, { result, keepMs, done }: End, onDisk: boolean): void {
    // Not when the broker has stopped meanwhile.
    const isUnderWay = this.#underWay.end(pending.key, pending) !== undefined;
    this.#terms.delete(pending);
    const receipt = item.content?.receipt;
    if (isUnderWay && keepMs > 0) this.#keep(item, onDisk);
    else this.#given.add(item.key);
    done({ ...result, durable: onDisk, ...(receipt && { receipt }) });
  }

  #keep(item: KeptResult, onDisk: boolean): void {
    item.onDisk = onDisk;
    if (onDisk) item.content = undefined;
    if (!this.#kept.add(item, item.keptAt)) {
      this.#notKept(item);
      if (onDisk) this.#store?.remove(item.key);
      return;
    }
    this.#options.metrics.kept(onDisk ? 'disk' : 'memory');
  }

  #moveToDisk(item: KeptResult): void {
    if (this.#kept.has(item)) {
      item.content = undefined;
      this.#kept.moveToDisk(item);
      return;
    }
    // It has been evicted since. What is there under its key by now is another one, which comes after it.
    if (this.#kept.get(item.key, performance.now()) === undefined) this.#store?.remove(item.key);
  }

  #notKept(item: KeptResult): void {
    this.#options.metrics.ended('not_kept');
    this.#given.add(item.key);
  }

  #lose(item: KeptResult): void {
    if (!this.#kept.has(item)) return;
    this.#kept.delete(item);
    this.#options.metrics.ended('lost');
    this.#forgotten(item);
  }

  #forgotten(item: KeptResult): void {
    this.#given.add(item.key);
    if (item.onDisk) this.#store?.remove(item.key);
  }
}

interface End {
  readonly result: TaskResult;
  readonly startedAt: number;
  readonly keepMs: number;
  readonly done: (result: TaskResult) => void;
}

/**
 * The broker's end of "exactly one result": the same request joins the run that is under way, or gets the result that is
 * kept (docs/internals/results.md). What has failed is forgotten.
 *
 * Hot path: what is not kept costs two small objects; what is kept in memory is hashed when its answer is on its way.
 */
import { ErrorCode } from '../../shared/base/errors.ts';
import type { KeptTotals } from '../../shared/base/once/kept-set.ts';
import { type Found, UnderWay } from '../../shared/base/once/once.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';
import {
  type AnnouncedOffload,
  type Answer,
  type AnyOffload,
  type ClaimedTask,
  type IncomingOffload,
  type PendingOffload,
  stateText,
  type TaskResult,
} from '../offloads/offload.ts';
import type { ResultMetrics } from '../telemetry/result-metrics.ts';
import type { ResultLimits } from '../tenants/policy.ts';
import { sha256Of } from './input-hash.ts';
import { KeptAnswers } from './kept-answers.ts';
import { addReceipt, isSameAs, type KeptResult, keepFor, keptFrom } from './kept-result.ts';
import { KeptResults } from './kept-results.ts';
import type { ReceiptSigner } from './receipt-signer.ts';
import { addTerms, type RunTerms, wantMore } from './run-terms.ts';

export interface ResultsOptions {
  readonly broker: string;
  /** Asked each time. */
  readonly limitsOf: (tenant: string) => ResultLimits;
  readonly totals: KeptTotals;
  readonly receipts: ReceiptSigner;
  readonly metrics: ResultMetrics;
}

export class Results {
  readonly #options: ResultsOptions;
  readonly #underWay = new UnderWay<PendingOffload>();
  readonly #terms = new Map<PendingOffload, RunTerms>();
  readonly kept: KeptResults;
  readonly #keptAnswers: KeptAnswers;

  constructor(options: ResultsOptions) {
    this.#options = options;
    const { broker, receipts, metrics } = options;
    this.kept = new KeptResults({ ...options, isUnderWay: (key) => this.#underWay.has(key) });
    this.#keptAnswers = new KeptAnswers({ broker, receipts, metrics, kept: this.kept });
    metrics.watch(() => this.kept.status());
  }

  /** Offloads that are under way, or whose results are being written. */
  get pending(): number {
    return this.#underWay.size;
  }

  /** Why an offload on these terms is not taken. */
  refusal({ wantReceipt }: AnyOffload): Refusal | undefined {
    const { why } = this.#options.receipts;
    if (!wantReceipt || why === '') return undefined;
    return refusal(ErrorCode.NotSupported, `no receipt can be given: ${why}; use another broker, or want none`);
  }

  /** Only looks. A run that is under way can be joined: see `join`. */
  find(key: string, offload: IncomingOffload): Found<PendingOffload, KeptResult> {
    const found = this.#underWay.find(key, offload.taskDigest, offload.input);
    if (found.found !== 'nothing') return found;
    const item = this.kept.get(key);
    if (item === undefined) return found;
    if (item.task !== offload.taskDigest || item.state !== stateText(offload.state)) return { found: 'conflict' };
    if (offload.isolation === 'vm' && item.isolation !== 'vm') return { found: 'conflict' };
    return { found: 'result', result: item };
  }

  /** Likewise for an input that is not here. `nothing`: also when only its bytes can tell whether it is the same. */
  findAnnounced(key: string, offload: AnnouncedOffload): Found<PendingOffload, KeptResult> {
    const { taskDigest, inputDigest, input } = offload;
    const pending = this.#underWay.get(key);
    if (pending !== undefined) {
      if (pending.taskDigest !== taskDigest || pending.input.length !== input.length) return { found: 'conflict' };
      if (pending.inputDigest === undefined) return { found: 'nothing' };
      return pending.inputDigest === inputDigest ? { found: 'pending', pending } : { found: 'conflict' };
    }
    const item = this.kept.get(key);
    if (item === undefined || typeof item.input !== 'string') return { found: 'nothing' };
    return isSameAs(item, offload) ? { found: 'result', result: item } : { found: 'conflict' };
  }

  /** Only after `find` has found nothing, and once it is admitted. */
  begin(pending: PendingOffload): void {
    const { key, taskDigest, input, keepMs, durable, wantReceipt } = pending;
    if (this.kept.wasGiven(key)) this.#options.metrics.secondRun();
    this.#underWay.begin(key, taskDigest, input, pending);
    // A result with state is on the disk already when it comes.
    this.#terms.set(pending, { keepMs, durable: durable && pending.state === undefined, wantReceipt });
  }

  /** One more waits for a run that is under way: its result is kept for whoever wants it longest. */
  join(pending: PendingOffload, offload: AnyOffload): void {
    const terms = this.#terms.get(pending);
    if (terms === undefined) return;
    addTerms(terms, { ...offload, durable: offload.durable && pending.state === undefined });
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
    const keepMs = this.#keptFor(pending, terms);
    if (!terms.wantReceipt && !(terms.durable && keepMs > 0)) {
      this.forget(pending);
      done(result);
      if (keepMs > 0) this.kept.keepInMemory(pending, result, startedAt, keepMs);
      else this.kept.given(pending.key);
      return;
    }
    void this.#finish(pending, terms, { result, startedAt, keepMs, done });
  }

  /**
   * Gives out a result that is kept.
   * @param again it is not there any more, and has to be run: called in place of `answer`
   */
  give(item: KeptResult, offload: AnyOffload, answer: Answer, again: () => void): void {
    this.#keptAnswers.give(item, offload, answer, again);
  }

  /** Gives out a result that is kept, by its key alone. @returns undefined: none is */
  claim(key: string, answer: Answer): ClaimedTask | undefined {
    const item = this.kept.get(key);
    if (item === undefined) return undefined;
    void this.#keptAnswers.claim(item, answer);
    return { taskDigest: item.task, input: item.input };
  }

  /** Forgets what is under way; what is on the disk stays there. */
  stop(): void {
    this.#underWay.clear();
    this.#terms.clear();
    this.kept.clear();
  }

  async #finish(pending: PendingOffload, terms: RunTerms, end: End): Promise<void> {
    const { result, startedAt, keepMs } = end;
    const item = keptFrom({ pending, result, startedAt, keepMs }, performance.now());
    const content = item.content!;
    let isAnswered = false;
    const settle = (onDisk: boolean): void => {
      clearTimeout(timer);
      if (!isAnswered) this.#settle(pending, item, end, onDisk);
      else if (onDisk) this.kept.moveToDisk(item);
      isAnswered = true;
    };
    // An answer that is on the disk and too late is worth less than one in time. Who joins may bring more time.
    const tooLate = (): void => {
      if (pending.deadline.isOver()) settle(false);
      else timer = setTimeout(tooLate, pending.deadline.timerMs());
    };
    let timer = setTimeout(tooLate, pending.deadline.timerMs());
    if (typeof item.input !== 'string') item.input = await sha256Of(item.input);
    let onDisk = false;
    let met: RunTerms;
    // Callers that join meanwhile may want more of it than those before.
    do {
      met = { ...terms };
      if (met.wantReceipt && content.receipt === undefined) {
        const receipt = await this.#keptAnswers.sign(item, content);
        if (isAnswered) break;
        addReceipt(item, receipt);
      }
      keepFor(item, this.#keptFor(pending, met));
      if (met.durable && item.keepMs > 0) onDisk = await this.kept.write(item, content);
    } while (!isAnswered && wantMore(terms, met));
    settle(onDisk);
  }

  #settle(pending: PendingOffload, item: KeptResult, { result, done }: End, onDisk: boolean): void {
    // Not when the broker has stopped meanwhile.
    const isUnderWay = this.#underWay.end(pending.key, pending) !== undefined;
    this.#terms.delete(pending);
    const receipt = item.content?.receipt;
    if (isUnderWay && item.keepMs > 0) this.kept.keep(item, onDisk);
    else {
      this.kept.given(item.key);
      if (onDisk && pending.over) this.kept.removeUnlessAnother(item.key);
    }
    done({ ...result, durable: onDisk, ...(receipt && { receipt }) });
  }

  #keptFor({ tenant }: PendingOffload, { keepMs }: RunTerms): number {
    return Math.min(keepMs, this.#options.limitsOf(tenant).keepMs);
  }
}

interface End {
  readonly result: TaskResult;
  readonly startedAt: number;
  readonly keepMs: number;
  readonly done: (result: TaskResult) => void;
}

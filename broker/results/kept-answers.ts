import { ErrorCode } from '../../shared/base/errors.ts';
import { refusal } from '../../shared/base/refusal.ts';
import type { Answer, AnyOffload, SignedReceipt } from '../offloads/offload.ts';
import { otherOffload } from '../offloads/refusals.ts';
import type { ResultMetrics } from '../telemetry/result-metrics.ts';
import { digestAtOnce, sha256Of } from './input-hash.ts';
import { addReceipt, contentFrom, type KeptContent, type KeptResult, matches, rowOf } from './kept-result.ts';
import type { KeptResults } from './kept-results.ts';
import type { ReceiptSigner } from './receipt-signer.ts';

export interface KeptAnswersParts {
  readonly broker: string;
  readonly kept: KeptResults;
  readonly receipts: ReceiptSigner;
  readonly metrics: ResultMetrics;
}

const READ_RETRY_MS = 100;

/** Gives out results that are kept, to whoever asked for the same with the same input, and with a receipt if that is wanted. */
export class KeptAnswers {
  readonly #parts: KeptAnswersParts;

  constructor(parts: KeptAnswersParts) {
    this.#parts = parts;
  }

  /** @param again it is not there any more, and has to be run: called in place of `answer` */
  give(item: KeptResult, offload: AnyOffload, answer: Answer, again: () => void): void {
    const { content } = item;
    const digest = digestAtOnce(offload);
    const isSimple = digest !== undefined && (!offload.wantReceipt || content?.receipt !== undefined);
    if (content === undefined || !isSimple) void this.#giveLater(item, offload, answer, again);
    else if (matches(item, offload.input, digest)) this.#answer(item, content, offload, answer);
    else answer(undefined, otherOffload(offload));
  }

  /** Gives one out to a broker that its vehicle has moved on to. */
  async claim(item: KeptResult, answer: Answer): Promise<void> {
    const content = item.content ?? (await this.#read(item));
    if (content !== undefined) {
      this.#answer(item, content, { wantReceipt: true }, answer);
      return;
    }
    this.#parts.kept.lose(item);
    answer(undefined, refusal(ErrorCode.ResultNotKept, `the result of ${item.id} is not kept any more`));
  }

  /** Undefined: it could not be signed. */
  async sign(item: KeptResult, { output, facts }: KeptContent): Promise<SignedReceipt | undefined> {
    const { broker, receipts } = this.#parts;
    const { owner: tenant, vehicle, id, task: taskDigest, isolation, input } = item;
    const inputSha256 = Buffer.from(typeof input === 'string' ? input : await sha256Of(input), 'base64');
    const outputSha256 = Buffer.from(await sha256Of(output), 'base64');
    const { startedAt, queueMs, runMs, cpuMs } = facts;
    const who = { broker, tenant, vehicle, id, taskDigest };
    return await receipts.sign({ ...who, inputSha256, outputSha256, isolation, startedAt, queueMs, runMs, cpuMs });
  }

  async #giveLater(item: KeptResult, offload: AnyOffload, answer: Answer, again: () => void): Promise<void> {
    const digest = offload.inputDigest ?? (await sha256Of(offload.input as Buffer));
    if (!matches(item, offload.input, digest)) {
      answer(undefined, otherOffload(offload));
      return;
    }
    if (item.content === undefined && item.reading === undefined && !this.#parts.kept.store?.canRead(item.size)) {
      const message = 'too many kept results are read from the disk at this time';
      answer(undefined, refusal(ErrorCode.QueueFull, message, READ_RETRY_MS));
      return;
    }
    const content = item.content ?? (await this.#read(item));
    if (content === undefined) {
      this.#parts.kept.lose(item);
      again();
      return;
    }
    if (offload.wantReceipt && content.receipt === undefined) await this.#addReceipt(item, content);
    this.#answer(item, content, offload, answer);
  }

  #answer(
    item: KeptResult,
    content: KeptContent,
    { wantReceipt }: Pick<AnyOffload, 'wantReceipt'>,
    answer: Answer,
  ): void {
    this.#parts.metrics.answered();
    const { isolation } = item;
    const onDisk = item.onDisk || item.state !== '';
    const { output, facts, receipt } = content;
    const { queueMs, startMs, runMs, cpuMs, peakMemory } = facts;
    const result = { output, queueMs, startMs, runMs, cpuMs, peakMemory, isolation, kept: true, durable: onDisk };
    answer(wantReceipt && receipt !== undefined ? { ...result, receipt } : result, undefined);
  }

  /** All who ask for it at the same time get the bytes of one read. */
  #read(item: KeptResult): Promise<KeptContent | undefined> {
    item.reading ??= this.#parts.kept.store!.read(item.key, item.size).then((stored) => {
      item.reading = undefined;
      return stored && contentFrom(stored);
    });
    return item.reading;
  }

  /** It was run for a caller that wanted none. The next one who wants it gets the same. */
  async #addReceipt(item: KeptResult, content: KeptContent): Promise<void> {
    const { kept } = this.#parts;
    const receipt = await this.sign(item, content);
    if (receipt === undefined || content.receipt !== undefined) return;
    content.receipt = receipt;
    if (!kept.has(item)) return;
    if (!item.onDisk) {
      kept.grow(item, () => addReceipt(item, receipt));
      return;
    }
    const { store } = kept;
    if (!store?.accepts(item.size)) return;
    await new Promise<void>((resolve) => store.put(rowOf(item, content), () => resolve()));
  }
}

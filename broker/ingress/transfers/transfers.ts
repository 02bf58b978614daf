import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { decodeChunk, decodeCredit, encodeChunkReply, type Payload } from '../../../shared/protocol/chunks.ts';
import { isEventOf } from '../../../shared/protocol/v2e-parser.ts';
import { keyOf } from '../../offloads/callers.ts';
import type { AnnouncedOffload, Answer, IncomingOffload, TaskResult } from '../../offloads/offload.ts';
import type { TransferMetrics } from '../../telemetry/transfer-metrics.ts';
import { TokenBucket } from '../limits/token-bucket.ts';
import type { VehicleLink } from '../vehicle-link.ts';
import { Downloads } from './downloads.ts';
import type { TransferLimits } from './transfer-link.ts';
import { cancelledInput, Uploads } from './uploads.ts';

export interface TransferOptions {
  readonly limits: TransferLimits;
  readonly metrics: TransferMetrics;
  /**
   * One whose input is not here. `want` is called when its bytes are to be sent, with what answers it from then on; in place
   * of it, `answer`.
   */
  readonly announce: (offload: AnnouncedOffload, answer: Answer, want: (answer: Answer) => void, link: object) => void;
  /** One that `announce` has wanted, whole. */
  readonly arrived: (offload: IncomingOffload, answer: Answer, link: object) => void;
}

/** Chunks and credits of no transfer: as many as may be on their way when transfers end, and no more. */
const STRAY = { perSecond: 50, most: 1000 };

interface Sought {
  isCancelled: boolean;
}

export function isPiece(message: Buffer): boolean {
  return isEventOf(message, 'chunk') || isEventOf(message, 'credit');
}

/** Inputs and outputs in chunks: docs/protocol/v2e.md, "Large payloads". */
export class Transfers {
  readonly #options: TransferOptions;
  readonly #uploads: Uploads;
  readonly #downloads: Downloads;
  /** Announced ones of which it is still looked whether their bytes are needed, by key. */
  readonly #sought = new Map<string, Set<Sought>>();
  readonly #strays = new WeakMap<VehicleLink, TokenBucket>();

  constructor(options: TransferOptions) {
    this.#options = options;
    const { limits, metrics, arrived } = options;
    this.#uploads = new Uploads({ limits, metrics, submit: arrived });
    this.#downloads = new Downloads(limits, metrics);
    metrics.watch({ input: () => this.#uploads.counts(), output: () => this.#downloads.counts() });
  }

  announce(link: VehicleLink, offload: AnnouncedOffload, answer: Answer): void {
    const found = this.#seek(keyOf(offload));
    const want = (followed: Answer) => {
      if (found()) this.#uploads.add({ offload, answer: followed, link });
      else followed(undefined, cancelledInput(offload.id));
    };
    const answerNow: Answer = (result, refusal) => {
      found();
      answer(result, refusal);
    };
    this.#options.announce(offload, answerNow, want, link);
  }

  /** @throws KerbError BadOffloadRequest */
  chunk(link: VehicleLink, argument: Buffer, ack: number | undefined): void {
    const chunk = decodeChunk(argument);
    const received = chunk.output ? undefined : this.#uploads.take(link, chunk);
    if (received === undefined) {
      const message = `a chunk cannot be used: nothing of ${chunk.id} is to come by this connection now`;
      this.#stray(link);
      throw new KerbError(ErrorCode.BadOffloadRequest, message);
    }
    if (ack !== undefined) link.answer(ack, encodeChunkReply(received));
  }

  /** @throws KerbError BadOffloadRequest */
  credit(link: VehicleLink, argument: Buffer): void {
    const credit = decodeCredit(argument);
    if (!credit.output || !this.#downloads.credit(link, credit)) this.#stray(link);
  }

  /** The payload to tell the vehicle of; undefined: the output is to be sent whole. @throws KerbError QuotaSpent */
  payloadOf(link: VehicleLink, id: string, { output }: TaskResult): Promise<Payload> | undefined {
    if (!this.#downloads.isFor(link, output)) return undefined;
    const why = this.#downloads.refusal(link, output);
    if (why === undefined) return this.#downloads.add(link, id, output);
    throw new KerbError(ErrorCode.QuotaSpent, why.message, { quota: why.quota, retryAfterMs: why.retryAfterMs });
  }

  /** @returns false: no such input or output is on its way */
  cancel(link: VehicleLink, id: string): boolean {
    const { tenant, id: vehicle } = link.client!;
    const wasOutput = this.#downloads.cancel(link, id);
    const sought = this.#sought.get(keyOf({ tenant, vehicle, id }));
    for (const one of sought ?? []) one.isCancelled = true;
    return this.#uploads.cancel(tenant, vehicle, id) || wasOutput || sought !== undefined;
  }

  drained(link: VehicleLink): void {
    this.#downloads.drained(link);
  }

  lost(link: VehicleLink): void {
    this.#uploads.linkLost(link);
    this.#downloads.linkLost(link);
  }

  stop(): void {
    this.#uploads.stop();
    this.#downloads.stop();
  }

  /** @returns to be called when it is known; false: it was cancelled meanwhile */
  #seek(key: string): () => boolean {
    const one: Sought = { isCancelled: false };
    const all = this.#sought.get(key) ?? new Set();
    this.#sought.set(key, all.add(one));
    return () => {
      all.delete(one);
      if (all.size === 0 && this.#sought.get(key) === all) this.#sought.delete(key);
      return !one.isCancelled;
    };
  }

  #stray(link: VehicleLink): void {
    this.#options.metrics.stray();
    const now = performance.now();
    let bucket = this.#strays.get(link);
    if (bucket === undefined) {
      bucket = new TokenBucket(STRAY.perSecond, STRAY.most, now);
      this.#strays.set(link, bucket);
    }
    if (bucket.take(now)) return;
    const why = 'the connection cannot be used: too many chunks and credits that belong to no transfer';
    link.end(new KerbError(ErrorCode.BadProtocolMessage, why));
  }
}

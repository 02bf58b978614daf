import { type Sha256, startSha256 } from '../../../shared/base/hash/sha256.ts';
import { creditOf } from '../../../shared/protocol/chunks.ts';
import { rankOf } from '../../../shared/protocol/service-class.ts';
import type { AnnouncedOffload, Answer } from '../../offloads/offload.ts';
import type { TransferState } from '../../telemetry/transfer-metrics.ts';
import type { Sender } from '../limits/senders.ts';
import type { TransferLink } from './transfer-link.ts';

/** A caller that waits for an input to be whole. */
export interface Waiter {
  readonly offload: AnnouncedOffload;
  readonly answer: Answer;
  readonly link: TransferLink;
}

/** One input on its way here, for all callers that have announced it. Times are milliseconds of `performance.now()`. */
export class Upload {
  readonly key: string;
  readonly tenant: string;
  readonly size: number;
  readonly sender: Sender;
  /** The most urgent class goes first. */
  readonly rank: number;
  readonly waiters: Waiter[] = [];
  state: TransferState = 'waiting';
  /** By which its bytes come. */
  source: TransferLink | undefined;
  received = 0;
  /** Up to here the other end may send. */
  allowed = 0;
  movedAt = 0;
  /** How often the other end was told where to begin: from the second time on, chunks of before may still be on their way. */
  begun = 0;
  /** How long it is kept while no caller waits for it. */
  keepMs = 0;
  readonly #taskDigest: string;
  readonly #digest: string;
  #hash: Sha256 | undefined;
  /** Undefined: no byte of it may come yet. */
  #buffer: Buffer | undefined;

  constructor(key: string, { offload, link }: Waiter) {
    this.key = key;
    this.tenant = offload.tenant;
    this.size = offload.input.length;
    this.sender = link.sender!;
    this.rank = rankOf(offload.serviceClass);
    this.#taskDigest = offload.taskDigest;
    this.#digest = offload.inputDigest;
  }

  /** Memory that it holds. */
  get bytes(): number {
    return this.#buffer?.length ?? 0;
  }

  isOf({ taskDigest, inputDigest, input }: AnnouncedOffload): boolean {
    return taskDigest === this.#taskDigest && inputDigest === this.#digest && input.length === this.size;
  }

  /** Its bytes may come. */
  open(): void {
    if (this.#buffer !== undefined) return;
    this.#buffer = Buffer.allocUnsafeSlow(this.size);
    this.#hash = startSha256(this.size);
  }

  /** Moves the end of what may be sent. @returns by how much; 0 while there is enough left of what was allowed before */
  allowMore(): number {
    const more = creditOf(this.size, this.received, this.allowed);
    this.allowed += more;
    return more;
  }

  /** Sent before the other end was told to begin elsewhere: it is here already, or comes again. */
  isStale(offset: number, length: number): boolean {
    return offset + length <= this.received || (offset > this.received && this.begun > 1);
  }

  /** Why it cannot be the next part; empty: it is. */
  faultOf(offset: number, length: number): string {
    if (offset !== this.received) return `a chunk begins at ${offset}, and ${this.received} bytes are here`;
    return offset + length > this.size ? `it has more than the ${this.size} bytes that were announced` : '';
  }

  take(data: Uint8Array): void {
    const at = this.received;
    this.#buffer!.set(data, at);
    this.received += data.length;
    this.#hash!.update(this.#buffer!.subarray(at, this.received));
  }

  /** All of it, when that is what was announced. */
  async whole(): Promise<Buffer | undefined> {
    const digest = await this.#hash!.digest();
    return digest.toString('base64') === this.#digest ? this.#buffer : undefined;
  }

  /** Its memory is not needed any more. */
  forget(): void {
    if (this.received < this.size) this.#hash?.forget();
    this.#buffer = undefined;
  }
}

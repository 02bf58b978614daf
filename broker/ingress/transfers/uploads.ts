/**
 * Inputs that come in chunks: who may send how much, what is kept for whoever lost the connection, and what ends them.
 *
 * Hot path: a chunk is copied once, into the memory of its input, and hashed there (shared/base/hash); every second one is
 * followed by a credit.
 */
import { Deadline } from '../../../shared/base/deadline.ts';
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { type Refusal, refusal } from '../../../shared/base/refusal.ts';
import { type Chunk, encodeCredit } from '../../../shared/protocol/chunks.ts';
import { keyOf } from '../../offloads/callers.ts';
import type { Answer, IncomingOffload } from '../../offloads/offload.ts';
import { otherOffload } from '../../offloads/refusals.ts';
import type { TransferCounts, TransferEnd, TransferMetrics, TransferState } from '../../telemetry/transfer-metrics.ts';
import type { TransferLimits, TransferLink } from './transfer-link.ts';
import { Upload, type Waiter } from './upload.ts';
import { UploadOrder } from './upload-order.ts';

export interface UploadOptions {
  readonly limits: TransferLimits;
  /** The input is whole, and as it was announced. */
  readonly submit: (offload: IncomingOffload, answer: Answer, link: object) => void;
  readonly metrics: TransferMetrics;
}

/** How exact the ends of budgets, stalled and kept transfers are. */
const LOOK_MS = 250;

export function cancelledInput(id: string): Refusal {
  const message = `the offload ${id} was cancelled: its vehicle does not want it any more`;
  return refusal(ErrorCode.OffloadCancelled, message);
}

export class Uploads {
  readonly #options: UploadOptions;
  readonly #byKey = new Map<string, Upload>();
  readonly #order: UploadOrder;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: UploadOptions) {
    this.#options = options;
    this.#order = new UploadOrder(options.limits, (upload) => this.#begin(upload));
  }

  counts(): TransferCounts {
    const states: Partial<Record<TransferState, number>> = {};
    for (const { state } of this.#byKey.values()) states[state] = (states[state] ?? 0) + 1;
    return { states, bytes: this.#order.bytes };
  }

  /** Its bytes are wanted: begins, joins or goes on with a transfer. */
  add(waiter: Waiter): void {
    const { offload, answer, link } = waiter;
    if (!link.isServed) {
      // Lost while the broker looked whether the bytes are needed: no link would send them until it counts as stalled.
      answer(undefined, refusal(ErrorCode.OffloadCancelled, 'its vehicle has disconnected before its input was here'));
      return;
    }
    const key = keyOf(offload);
    let upload = this.#byKey.get(key);
    if (upload !== undefined && !upload.isOf(offload)) {
      if (upload.waiters.length > 0) {
        answer(undefined, otherOffload(offload));
        return;
      }
      this.#end(upload, 'lost');
      upload = undefined;
    }
    const full = upload === undefined ? this.#tooMany(link) : this.#tooManyJoined(upload, offload.id);
    if (full !== undefined) {
      answer(undefined, full);
      return;
    }
    if (upload === undefined) {
      upload = new Upload(key, waiter);
      this.#byKey.set(key, upload);
      this.#order.added(upload);
    } else if (upload.state === 'kept') {
      upload.sender.release(upload.size);
      this.#order.setState(upload, 'waiting');
      this.#options.metrics.resumed('input');
    }
    upload.waiters.push(waiter);
    this.#timer ??= setInterval(() => this.#look(performance.now()), LOOK_MS);
    // The caller that announced it last has the better connection: the one before may be lost unnoticed.
    if (upload.state !== 'checking' && upload.source !== link) this.#takeFrom(upload, link);
  }

  /** @returns how many bytes are here now @throws KerbError BadOffloadRequest; undefined: it belongs to no transfer */
  take(link: TransferLink, { id, offset, data }: Chunk): number | undefined {
    const { tenant, id: vehicle } = link.client!;
    const upload = this.#byKey.get(keyOf({ tenant, vehicle, id }));
    if (upload?.state !== 'active' || upload.source !== link) return undefined;
    if (upload.isStale(offset, data.length)) return undefined;
    const fault = upload.faultOf(offset, data.length);
    if (fault !== '') {
      const error = new KerbError(ErrorCode.BadOffloadRequest, `the input of ${id} cannot be used: ${fault}`, { id });
      this.#leave(upload, link, refusal(error.code, error.message), 'bad');
      throw error;
    }
    upload.take(data);
    upload.movedAt = performance.now();
    this.#options.metrics.moved('input', data.length);
    if (upload.received < upload.size) this.#allow(upload, undefined);
    else void this.#check(upload);
    return upload.received;
  }

  /** @returns false: no such input is on its way */
  cancel(tenant: string, vehicle: string, id: string): boolean {
    const upload = this.#byKey.get(keyOf({ tenant, vehicle, id }));
    if (upload === undefined || upload.waiters.length === 0) return false;
    this.#refuse(upload, cancelledInput(id), 'cancelled');
    return true;
  }

  /** An input that only callers by this link wait for is kept for a while, if they want that. */
  linkLost(link: TransferLink): void {
    for (const upload of [...this.#byKey.values()]) {
      const lost = upload.waiters.filter((waiter) => waiter.link === link);
      if (lost.length === 0) continue;
      upload.keepMs = Math.max(...lost.map(({ offload }) => offload.keepMs));
      const why = refusal(ErrorCode.OffloadCancelled, 'its vehicle has disconnected before its input was here');
      this.#leave(upload, link, why, 'lost');
    }
  }

  stop(): void {
    const why = refusal(ErrorCode.BrokerStopping, 'this broker is stopping; the offload was not run');
    for (const upload of [...this.#byKey.values()]) this.#refuse(upload, why, 'stopped');
  }

  #tooMany({ sender }: TransferLink): Refusal | undefined {
    const { openPerVehicle } = this.#options.limits;
    if (this.#order.openOf(sender!) < openPerVehicle) return undefined;
    const message = `${openPerVehicle} inputs of this vehicle are on their way already`;
    return { ...refusal(ErrorCode.QuotaSpent, message, 1000), quota: 'transfers' };
  }

  #tooManyJoined({ waiters }: Upload, id: string): Refusal | undefined {
    const { maxJoined } = this.#options.limits;
    if (waiters.length < maxJoined) return undefined;
    return refusal(ErrorCode.TooManyFromTenant, `${maxJoined} callers wait for the offload ${id} already`);
  }

  /** It is its turn to send. */
  #begin(upload: Upload): void {
    upload.open();
    upload.movedAt = performance.now();
    upload.allowed = upload.received;
    if (upload.source !== undefined) upload.begun++;
    this.#allow(upload, upload.received);
  }

  #takeFrom(upload: Upload, link: TransferLink): void {
    upload.source = link;
    if (upload.state === 'active') this.#begin(upload);
    else this.#order.schedule();
  }

  #allow(upload: Upload, from: number | undefined): void {
    const bytes = upload.allowMore();
    const { source, waiters } = upload;
    if (bytes === 0 || source === undefined || waiters[0] === undefined) return;
    source.write('credit', encodeCredit({ id: waiters[0].offload.id, output: false, bytes, from }));
  }

  async #check(upload: Upload): Promise<void> {
    this.#order.setState(upload, 'checking');
    const input = await upload.whole();
    if (this.#byKey.get(upload.key) !== upload) return;
    if (input === undefined) {
      const message = `the input cannot be used: the hash of its ${upload.size} bytes is not the one that was announced`;
      this.#refuse(upload, refusal(ErrorCode.BadOffloadRequest, message), 'bad');
      return;
    }
    const waiters = upload.waiters.splice(0);
    this.#end(upload, 'done');
    const now = performance.now();
    for (const { offload, answer, link } of waiters) {
      // The time until here is no time in the queue.
      const deadline = new Deadline(offload.deadline.leftMs(now), now);
      const dwellMs = Math.max(0, offload.dwellMs - offload.deadline.elapsedMs(now));
      this.#options.submit({ ...offload, input, deadline, dwellMs }, answer, link);
    }
  }

  /** The callers by this link are gone or told why; the others go on, by another link. */
  #leave(upload: Upload, link: TransferLink, why: Refusal, end: TransferEnd): void {
    const leaving = upload.waiters.filter((waiter) => waiter.link === link);
    const staying = upload.waiters.filter((waiter) => waiter.link !== link);
    upload.waiters.splice(0, upload.waiters.length, ...staying);
    const next = staying.at(-1);
    if (next === undefined) {
      if (end !== 'lost' || !this.#keep(upload)) this.#end(upload, end);
    } else if (upload.source === link && upload.state !== 'checking') this.#takeFrom(upload, next.link);
    for (const { answer } of leaving) answer(undefined, why);
  }

  /** False: it is not worth it, or there is no room. */
  #keep(upload: Upload): boolean {
    const { size, sender, received, keepMs, state } = upload;
    if (keepMs === 0 || received === 0 || state === 'checking') return false;
    if (this.#order.keptOf(sender) >= this.#options.limits.keptPerVehicle) return false;
    if (sender.hindrance(size, performance.now()) === 'bytes_in_flight') return false;
    sender.hold(size);
    upload.source = undefined;
    upload.movedAt = performance.now();
    this.#order.setState(upload, 'kept');
    return true;
  }

  #refuse(upload: Upload, why: Refusal, end: TransferEnd): void {
    const waiters = upload.waiters.splice(0);
    this.#end(upload, end);
    for (const { answer } of waiters) answer(undefined, why);
  }

  #end(upload: Upload, end: TransferEnd): void {
    this.#byKey.delete(upload.key);
    if (upload.state === 'kept') upload.sender.release(upload.size);
    this.#options.metrics.ended('input', end);
    this.#order.removed(upload);
    upload.forget();
    if (this.#byKey.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Ends what has no time left. */
  #look(now: number): void {
    const { stallMs, resumeMs } = this.#options.limits;
    for (const upload of [...this.#byKey.values()]) {
      const { state, received, size } = upload;
      const idleMs = now - upload.movedAt;
      if (state === 'kept' && idleMs > Math.min(resumeMs, upload.keepMs)) this.#end(upload, 'lost');
      else if (state === 'active' && idleMs > stallMs) {
        const message = `the input stopped coming: ${received} of ${size} bytes are here, and nothing more came for ${stallMs / 1000} s`;
        this.#refuse(upload, refusal(ErrorCode.TransferStalled, message), 'stalled');
      } else this.#dropLate(upload, now);
    }
  }

  #dropLate(upload: Upload, now: number): void {
    const late = upload.waiters.filter(({ offload }) => offload.deadline.isOver(now));
    if (late.length === 0) return;
    const staying = upload.waiters.filter((waiter) => !late.includes(waiter));
    upload.waiters.splice(0, upload.waiters.length, ...staying);
    const next = staying.at(-1);
    if (next === undefined) this.#end(upload, 'late');
    else if (!staying.some(({ link }) => link === upload.source) && upload.state !== 'checking')
      this.#takeFrom(upload, next.link);
    for (const { offload, answer } of late) {
      const message = `the budget of ${offload.deadline.budgetText} was spent while its input came; it was not run`;
      answer(undefined, refusal(ErrorCode.BudgetSpentInQueue, message));
    }
  }
}

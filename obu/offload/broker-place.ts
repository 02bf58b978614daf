import { ErrorCode, isKerbError } from '../../shared/base/errors.ts';
import type { PlaceKind } from '../../shared/protocol/place-kind.ts';
import type { BrokerLink } from '../../shared/v2e-client/broker-link.ts';
import type { BrokerResult } from '../../shared/v2e-client/offload-result.ts';
import { PlaceHealth } from './choose/health.ts';
import type { Place, QueueNews } from './choose/place.ts';
import { RecentQuantile } from './recent-quantile.ts';

/** Tasks whose run times are remembered; of more, the one that was learnt first is forgotten. */
const MAX_TASKS = 64;
/** Payloads up to here say how long the way is, larger ones how wide it is. */
const SMALL_BYTES = 16_384;
/** How many of our offloads a broker is taken to run at once before it has shown more or fewer. */
const FIRST_SLOTS = 4;
/** A place that is too slow by what was learnt is asked again after this time: it may have become faster. */
const RELEARN_MS = 250;

/** One offload that is at this place. */
export interface Visit {
  readonly taskDigest: string;
  readonly bytes: number;
  /** `performance.now()` */
  readonly beganAt: number;
  /** Own offloads there at that time, this one included. */
  readonly together: number;
}

/** A broker as a place: its link, and what our own offloads have taught about it. */
export class BrokerPlace {
  readonly link: BrokerLink;
  readonly kind: PlaceKind;
  readonly cost: number;
  readonly #health = new PlaceHealth();
  readonly #roundTrip = new RecentQuantile(0.9);
  readonly #rate = new RecentQuantile(0.1);
  readonly #queue = new RecentQuantile(0.9);
  readonly #runs = new Map<string, RecentQuantile>();
  #news: QueueNews | undefined;
  #slots = FIRST_SLOTS;
  #underWay = 0;
  #busyUntil = 0;
  #triedAt = Number.NEGATIVE_INFINITY;

  constructor(link: BrokerLink, kind: PlaceKind, cost: number) {
    this.link = link;
    this.kind = kind;
    this.cost = cost;
  }

  get id(): string {
    return this.link.place;
  }

  offers(taskDigest: string): boolean {
    return this.link.offers.some(({ digest }) => digest === taskDigest);
  }

  /** Its estimate is old enough for an offload that finds out. */
  mayRelearn(now: number): boolean {
    return now - this.#triedAt >= RELEARN_MS;
  }

  /** @param unusable why nothing is to be sent there now */
  view(taskDigest: string, now: number, unusable: string | undefined): Place {
    const runMs = this.#runs.get(taskDigest)?.value;
    const waiting = Math.max(this.#underWay + 1 - this.#slots, 0);
    return {
      id: this.id,
      kind: this.kind,
      unusable,
      roundTripMs: this.#roundTrip.value ?? 0,
      bytesPerMs: this.#rate.value ?? Number.POSITIVE_INFINITY,
      busyUntil: this.#busyUntil,
      news: this.#news,
      usualQueueMs: this.#queue.value ?? 0,
      ownQueueMs: ((runMs ?? 0) * waiting) / this.#slots,
      runMs,
      hasPackage: this.offers(taskDigest),
      maxInput: this.link.maxInputOf(taskDigest),
      dwellMs: Number.POSITIVE_INFINITY,
      cost: this.cost,
      isOut: this.#health.isOut(now),
    };
  }

  begin(taskDigest: string, bytes: number, now: number): Visit {
    this.#health.begin(now);
    this.#triedAt = now;
    this.#underWay += 1;
    const rate = this.#rate.value;
    if (rate !== undefined && rate > 0) this.#busyUntil = Math.max(this.#busyUntil, now) + bytes / rate;
    return { taskDigest, bytes, beganAt: now, together: this.#underWay };
  }

  succeeded(visit: Visit, { output, queueMs, runMs, startMs }: BrokerResult): void {
    this.#underWay -= 1;
    this.#health.succeeded();
    const now = performance.now();
    const wayMs = Math.max(now - visit.beganAt - queueMs - runMs - startMs, 0);
    const bytes = visit.bytes + output.length;
    if (bytes <= SMALL_BYTES) this.#roundTrip.add(wayMs);
    else this.#rate.add(bytes / Math.max(wayMs - (this.#roundTrip.value ?? 0), 0.01));
    this.#runOf(visit.taskDigest).add(runMs);
    this.#queue.add(queueMs);
    if (queueMs >= 0) this.#news = { queueMs, at: now - Math.max(runMs, 0) };
    this.#learnSlots(visit.together, queueMs / Math.max(runMs, 0.1));
  }

  failed(error: unknown): void {
    this.#underWay -= 1;
    if (isKerbError(error) && error.context.refusal !== undefined) this.#health.succeeded();
    else if (isKerbError(error, ErrorCode.BrokerLost) || isKerbError(error, ErrorCode.BudgetExhausted))
      this.#health.failed(performance.now(), !this.link.answers);
    else this.#health.abandoned();
  }

  /** @param waited in run times */
  #learnSlots(together: number, waited: number): void {
    if (waited < 0.25) this.#slots = Math.max(this.#slots, together);
    else this.#slots = Math.max(1, Math.min(this.#slots, Math.round(together / (1 + waited)) || 1));
  }

  #runOf(taskDigest: string): RecentQuantile {
    const known = this.#runs.get(taskDigest);
    if (known !== undefined) return known;
    if (this.#runs.size >= MAX_TASKS) this.#runs.delete(this.#runs.keys().next().value!);
    const made = new RecentQuantile(0.9);
    this.#runs.set(taskDigest, made);
    return made;
  }
}

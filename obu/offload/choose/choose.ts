import type { ChoiceRequest, Place, QueueNews } from './place.ts';

/** News of a queue that is older counts as unknown. */
export const NEWS_MS = 1000;
/** Another vehicle is a place only while it is expected to stay in reach for this long. */
export const MIN_CONTACT_MS = 2000;
/** Part of the budget by which an offload must be expected to end. */
const FEASIBLE = 0.9;
/** The cheapest place is taken when it keeps this part of the budget. */
const KEEP = 0.2;
/** Places whose expected finishes differ by less than this part of the budget are equally good. */
const TIE = 0.1;

/** Why a place is not taken, or 'feasible'. */
export type Verdict =
  | 'feasible'
  | 'tried already'
  | 'kind not allowed'
  | 'too expensive'
  | 'unusable'
  | 'does not have the task'
  | 'input too large'
  | 'leaves too soon'
  | 'too slow'
  | 'failed lately';

export interface PlaceRow {
  readonly place: Place;
  /** Milliseconds from now until the answer is expected; Infinity where nothing can be expected. */
  readonly finishMs: number;
  readonly verdict: Verdict;
}

export type Reason =
  | 'cheapest that keeps 20 % of the budget'
  | 'earliest'
  | 'named by the last place'
  | 'none is feasible';

export interface Choice {
  /** Undefined: no place is feasible. */
  readonly chosen: PlaceRow | undefined;
  readonly reason: Reason;
  /** Every place, in the order in which it was given. */
  readonly rows: readonly PlaceRow[];
  /** The earliest expected finish among the places that are only too slow; Infinity: there is no such place. */
  readonly missedMs: number;
}

/**
 * Milliseconds until the answer of this offload is expected from a place:
 * wait for the link + upload + round trip + queue + run + download. What is not known counts as nothing.
 */
export function expectedFinish(place: Place, { now, inputBytes, outputBytes }: ChoiceRequest): number {
  const transfer = (inputBytes + outputBytes) / place.bytesPerMs;
  return waitForLink(place, now) + transfer + place.roundTripMs + queueOf(place, now) + (place.runMs ?? 0);
}

/**
 * Chooses where one offload runs: the cheapest feasible place that keeps 20 % of the budget, else the feasible one with the
 * earliest finish. A place that has failed lately is considered only where no other is left that could be. Never throws.
 */
export function choosePlace(places: readonly Place[], request: ChoiceRequest): Choice {
  const rows: PlaceRow[] = [];
  const feasible: PlaceRow[] = [];
  let missedMs = Number.POSITIVE_INFINITY;
  const isLast = !places.some((place) => !place.isOut && isCandidate(place, request));
  for (const place of places) {
    const row = judge(place, request, isLast);
    rows.push(row);
    if (row.verdict === 'feasible') feasible.push(row);
    else if (row.verdict === 'too slow' && row.finishMs < missedMs) missedMs = row.finishMs;
  }
  const { chosen, reason } = bestOf(feasible, request);
  return { chosen, reason, rows, missedMs };
}

/**
 * None is feasible: the place that is asked all the same, and decides itself. It is too slow only by numbers that no news
 * of the last second bears out; of several, the one with the earliest finish. Undefined: there is none.
 */
export function doubtfulPlace({ chosen, rows }: Choice, { now, budgetMs }: ChoiceRequest): PlaceRow | undefined {
  if (chosen !== undefined || !(budgetMs > 0)) return undefined;
  let earliest: PlaceRow | undefined;
  for (const row of rows) {
    if (row.verdict !== 'too slow' || freshNews(row.place, now) !== undefined) continue;
    if (earliest === undefined || row.finishMs < earliest.finishMs) earliest = row;
  }
  return earliest;
}

function bestOf(feasible: readonly PlaceRow[], request: ChoiceRequest): Pick<Choice, 'chosen' | 'reason'> {
  if (feasible.length === 0) return { chosen: undefined, reason: 'none is feasible' };
  const { tryPlace, budgetMs } = request;
  const named = tryPlace === undefined ? undefined : feasible.find(({ place }) => place.id === tryPlace);
  if (named !== undefined) return { chosen: named, reason: 'named by the last place' };
  const limit = budgetMs * (1 - KEEP);
  let lowest = Number.POSITIVE_INFINITY;
  for (const { place, finishMs } of feasible) if (finishMs <= limit && place.cost < lowest) lowest = place.cost;
  if (lowest === Number.POSITIVE_INFINITY)
    return { chosen: amongEqual(feasible, undefined, limit, request), reason: 'earliest' };
  return {
    chosen: amongEqual(feasible, lowest, limit, request),
    reason: 'cheapest that keeps 20 % of the budget',
  };
}

/** Of the places of this cost within the limit (undefined: of all), the earliest; of equal ones, one by the vehicle's hash. */
function amongEqual(
  rows: readonly PlaceRow[],
  cost: number | undefined,
  limit: number,
  { budgetMs, vehicle, now }: ChoiceRequest,
): PlaceRow {
  const counts = ({ place, finishMs }: PlaceRow) => cost === undefined || (place.cost === cost && finishMs <= limit);
  let earliest: PlaceRow | undefined;
  for (const row of rows)
    if (counts(row) && (earliest === undefined || row.finishMs < earliest.finishMs)) earliest = row;
  const upTo = earliest!.finishMs + budgetMs * TIE;
  const second = Math.floor(now / 1000);
  let best = earliest!;
  let bestHash = -1;
  for (const row of rows) {
    if (!counts(row) || row.finishMs > upTo) continue;
    const hash = hashOf(row.place.id, hashOf(vehicle, second));
    if (hash > bestHash) {
      best = row;
      bestHash = hash;
    }
  }
  return best;
}

/** It could be asked, whatever its expected finish. */
function isCandidate(place: Place, request: ChoiceRequest): boolean {
  return barrierOf(place, request) === undefined;
}

function barrierOf(place: Place, { kinds, maxCost, tried, inputBytes }: ChoiceRequest): Verdict | undefined {
  if (tried?.has(place.id)) return 'tried already';
  if (kinds !== undefined && !kinds.includes(place.kind)) return 'kind not allowed';
  // Written so that a cost that is not a number is not below any limit.
  if (maxCost !== undefined && !(place.cost <= maxCost)) return 'too expensive';
  if (place.unusable !== undefined) return 'unusable';
  if (!place.hasPackage) return 'does not have the task';
  return inputBytes > place.maxInput ? 'input too large' : undefined;
}

function judge(place: Place, request: ChoiceRequest, isLast: boolean): PlaceRow {
  const barrier = barrierOf(place, request);
  if (barrier !== undefined) return { place, finishMs: Number.POSITIVE_INFINITY, verdict: barrier };
  const expected = expectedFinish(place, request);
  const finishMs = expected >= 0 ? expected : Number.POSITIVE_INFINITY;
  return { place, finishMs, verdict: verdictOf(place, finishMs, request, isLast) };
}

function verdictOf(place: Place, finishMs: number, request: ChoiceRequest, isLast: boolean): Verdict {
  if (place.isOut && !isLast) return 'failed lately';
  const uploadMs = waitForLink(place, request.now) + request.inputBytes / place.bytesPerMs;
  if (place.dwellMs < uploadMs || (place.kind === 'vehicle' && place.dwellMs < MIN_CONTACT_MS))
    return 'leaves too soon';
  return finishMs <= request.budgetMs * FEASIBLE ? 'feasible' : 'too slow';
}

function waitForLink({ busyUntil }: Place, now: number): number {
  return Math.max(busyUntil - now, 0);
}

function queueOf(place: Place, now: number): number {
  const news = freshNews(place, now);
  const known = news === undefined ? place.usualQueueMs : Math.max(news.queueMs - Math.max(now - news.at, 0), 0);
  return known + place.ownQueueMs;
}

function freshNews({ news }: Place, now: number): QueueNews | undefined {
  return news !== undefined && now - news.at <= NEWS_MS ? news : undefined;
}

/** FNV-1a with a last mixing, 32 bits: it spreads, and may be guessed. */
function hashOf(text: string, seed: number): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

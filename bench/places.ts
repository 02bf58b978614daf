import { choosePlace } from '../obu/offload/choose/choose.ts';
import type { ChoiceRequest, Place } from '../obu/offload/choose/place.ts';
import { PLACE_KINDS } from '../shared/protocol/place-kind.ts';
import { atMost, type Measurement, summarise } from './measure.ts';

/** Choices of one sample: a single one is near the clock's resolution. */
const BATCH = 500;
const SAMPLES = 400;

/** Measures how long the choice of a place takes. */
export async function* placesSuite(say: (text: string) => void): AsyncGenerator<Measurement> {
  for (const count of [1, 4, 16]) {
    say(`choosing among ${count} places`);
    const places = Array.from({ length: count }, (_, i) => placeOf(i));
    const request: ChoiceRequest = { now: 10_000, budgetMs: 60, inputBytes: 8000, outputBytes: 0, vehicle: 'car-1' };
    const samples = timeBatches((i) => choosePlace(places, { ...request, now: 10_000 + (i % 900) }).missedMs);
    const row = summarise('places', `choice among ${count} places`, 'us', samples);
    yield count === 16 ? atMost(row, 5) : row;
  }
  const numbers = Array.from({ length: 16 }, (_, i) => (i * 7919) % 101);
  say('sorting 16 numbers');
  const sorts = timeBatches(() => [...numbers].sort((a, b) => a - b)[0]!);
  yield summarise('places', 'a sort of 16 numbers, for comparison', 'us', sorts);
}

/** Half of them equally good, so that ties are broken, too. */
function placeOf(i: number): Place {
  return {
    id: `broker:rsu-${i}`,
    kind: PLACE_KINDS[i % PLACE_KINDS.length]!,
    roundTripMs: 4 + (i % 4),
    bytesPerMs: 10_000,
    busyUntil: 10_000,
    news: i % 3 === 0 ? undefined : { queueMs: i, at: 9_900 },
    usualQueueMs: 1,
    ownQueueMs: 0,
    runMs: 5,
    hasPackage: true,
    maxInput: 1_000_000,
    dwellMs: Number.POSITIVE_INFINITY,
    cost: i % 2,
    isOut: i === 5,
  };
}

/** Microseconds of one call, each the mean of a batch. */
function timeBatches(once: (i: number) => number): number[] {
  let kept = 0;
  const batch = () => {
    const begin = performance.now();
    for (let i = 0; i < BATCH; i++) kept += once(i);
    return ((performance.now() - begin) * 1000) / BATCH;
  };
  for (let i = 0; i < 20; i++) batch();
  const samples = Array.from({ length: SAMPLES }, batch);
  // Nothing that is used is optimised away.
  if (Number.isNaN(kept)) throw new Error('a choice has no number');
  return samples;
}

import { describe, expect, it } from 'vitest';
import { isPlaceKind, PLACE_KINDS } from '../../../shared/protocol/place-kind.ts';
import { choosePlace, doubtfulPlace, expectedFinish, NEWS_MS } from './choose.ts';
import { PlaceHealth } from './health.ts';
import type { ChoiceRequest, Place } from './place.ts';

const place = (id: string, change: Partial<Place> = {}): Place => ({
  id,
  kind: 'roadside',
  roundTripMs: 10,
  bytesPerMs: 1000,
  busyUntil: 0,
  news: undefined,
  usualQueueMs: 0,
  ownQueueMs: 0,
  runMs: 20,
  hasPackage: true,
  maxInput: 1e6,
  dwellMs: Number.POSITIVE_INFINITY,
  cost: 1,
  isOut: false,
  ...change,
});
const request = (change: Partial<ChoiceRequest> = {}): ChoiceRequest => ({
  ...{ now: 10_000, budgetMs: 100, inputBytes: 1000, outputBytes: 0, vehicle: 'car-1' },
  ...change,
});
const chosenId = (places: readonly Place[], change: Partial<ChoiceRequest> = {}) =>
  choosePlace(places, request(change)).chosen?.place.id;
const verdict = (one: Place, change: Partial<ChoiceRequest> = {}) =>
  choosePlace([one], request(change)).rows[0]!.verdict;

describe('the expected finish', () => {
  it('adds the link, the payloads, the round trip, the queue and the run', () => {
    const one = place('a', { busyUntil: 10_005, news: { queueMs: 30, at: 9_990 }, ownQueueMs: 7 });
    // 5 busy + 3 payload + 10 round trip + (30 - 10) queue + 7 own + 20 run
    expect(expectedFinish(one, request({ outputBytes: 2000 }))).toBe(65);
  });
  it('does not count news older than 1 s, and takes what was usual instead', () => {
    const old = (at: number) => place('a', { news: { queueMs: 5000, at }, usualQueueMs: 3 });
    expect(expectedFinish(old(8_999), request())).toBe(34);
    expect(expectedFinish(old(9_000), request())).toBe(31 + 4000);
  });
  it('a queue never becomes less than empty, and news from the future has no age', () => {
    expect(expectedFinish(place('a', { news: { queueMs: 1, at: 9_900 } }), request())).toBe(31);
    expect(expectedFinish(place('a', { news: { queueMs: 9, at: 10_500 } }), request())).toBe(40);
  });
});

describe('the choice', () => {
  it('the cheapest that keeps 20 % of the budget, even when a dearer one is earlier', () => {
    const places = [place('near', { runMs: 60 }), place('cloud', { runMs: 5, cost: 3, kind: 'cloud' })];
    expect(choosePlace(places, request())).toMatchObject({
      chosen: { place: { id: 'near' } },
      reason: 'cheapest that keeps 20 % of the budget',
    });
  });
  it('goes up to the cloud while the roadside is full, and comes back down', () => {
    const cloud = place('cloud', { roundTripMs: 50, cost: 3, kind: 'cloud' });
    const roadside = (queueMs: number) => place('rsu', { news: { queueMs, at: 10_000 } });
    expect(chosenId([roadside(0), cloud])).toBe('rsu');
    expect(chosenId([roadside(200), cloud])).toBe('cloud');
    expect(chosenId([roadside(10), cloud])).toBe('rsu');
  });
  it('the earliest when none keeps 20 %', () => {
    const places = [place('a', { runMs: 78, cost: 0 }), place('b', { runMs: 70, cost: 9, roundTripMs: 10.5 })];
    const choice = choosePlace(places, request({ budgetMs: 101, vehicle: 'x' }));
    expect(choice.reason).toBe('earliest');
    expect(chosenId([place('a', { runMs: 78, cost: 0 }), place('b', { runMs: 60 })], { budgetMs: 70 })).toBeUndefined();
  });
  it('none is feasible: says by how much the best missed', () => {
    const choice = choosePlace([place('a', { runMs: 500 }), place('b', { runMs: 400 })], request());
    expect(choice).toMatchObject({ chosen: undefined, reason: 'none is feasible', missedMs: 411 });
    expect(choice.rows.map((row) => row.verdict)).toEqual(['too slow', 'too slow']);
  });
  it('no place at all', () => {
    expect(choosePlace([], request())).toEqual({
      ...{ chosen: undefined, reason: 'none is feasible', rows: [], missedMs: Number.POSITIVE_INFINITY },
    });
  });
  it('the place that the last one named goes first, while it is feasible', () => {
    const places = [place('a', { cost: 0 }), place('b', { cost: 5 })];
    expect(chosenId(places, { tryPlace: 'b' })).toBe('b');
    expect(chosenId([places[0]!, place('b', { runMs: 900 })], { tryPlace: 'b' })).toBe('a');
    expect(chosenId(places, { tryPlace: 'nobody' })).toBe('a');
  });
  it('says why each of the others is not taken', () => {
    expect(verdict(place('a'), { tried: new Set(['a']) })).toBe('tried already');
    expect(verdict(place('a'), { kinds: ['here', 'cloud'] })).toBe('kind not allowed');
    expect(verdict(place('a', { cost: 2 }), { maxCost: 1 })).toBe('too expensive');
    expect(verdict(place('a', { unusable: 'not connected' }))).toBe('unusable');
    expect(verdict(place('a', { hasPackage: false }))).toBe('does not have the task');
    expect(verdict(place('a', { maxInput: 999 }))).toBe('input too large');
    expect(verdict(place('a', { dwellMs: 0.5 }))).toBe('leaves too soon');
    expect(verdict(place('a', { kind: 'vehicle', dwellMs: 1999 }))).toBe('leaves too soon');
    expect(verdict(place('a', { kind: 'vehicle', dwellMs: 2000 }))).toBe('feasible');
  });
  it('a place that failed lately is taken only when it is the last one', () => {
    const out = place('out', { isOut: true, cost: 0 });
    expect(choosePlace([out, place('b', { cost: 9 })], request()).rows[0]!.verdict).toBe('failed lately');
    expect(chosenId([out, place('b', { cost: 9 })])).toBe('b');
    expect(chosenId([out])).toBe('out');
    expect(chosenId([out, place('b')], { tried: new Set(['b']) })).toBe('out');
    expect(chosenId([out, place('b', { unusable: 'not connected' })])).toBe('out');
  });
  it('numbers that are none make a place infeasible, and nothing throws', () => {
    for (const key of ['roundTripMs', 'bytesPerMs', 'busyUntil', 'usualQueueMs', 'ownQueueMs', 'runMs'] as const) {
      expect(verdict(place('a', { [key]: Number.NaN }))).toBe('too slow');
    }
    expect(verdict(place('a', { bytesPerMs: 0 }))).not.toBe('feasible');
    expect(verdict(place('a', { roundTripMs: -1e9 }))).toBe('too slow');
    expect(verdict(place('a', { cost: Number.NaN }), { maxCost: 1 })).toBe('too expensive');
    for (const budgetMs of [0, -1, Number.NaN]) expect(chosenId([place('a')], { budgetMs })).toBeUndefined();
  });
});

/** Deterministic: a failure can be run again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function anyPlace(next: () => number, id: string): Place {
  return place(id, {
    kind: PLACE_KINDS[Math.floor(next() * PLACE_KINDS.length)]!,
    unusable: next() < 0.1 ? 'not connected' : undefined,
    roundTripMs: next() * 60,
    bytesPerMs: next() < 0.1 ? Number.POSITIVE_INFINITY : next() * 2000,
    busyUntil: 9_950 + next() * 100,
    news: next() < 0.5 ? undefined : { queueMs: next() * 200, at: 8_500 + next() * 1600 },
    usualQueueMs: next() * 20,
    ownQueueMs: next() * 20,
    runMs: next() < 0.2 ? undefined : next() * 60,
    hasPackage: next() < 0.9,
    maxInput: next() * 20_000,
    dwellMs: next() < 0.5 ? Number.POSITIVE_INFINITY : next() * 4000,
    cost: Math.floor(next() * 4),
    isOut: next() < 0.2,
  });
}

describe('properties', () => {
  it('never an infeasible place while a feasible one exists, and never none then', () => {
    const next = random(12);
    for (let round = 0; round < 3000; round++) {
      const places = Array.from({ length: Math.floor(next() * 17) }, (_, i) => anyPlace(next, `p${i}`));
      const tried = new Set(places.filter(() => next() < 0.1).map(({ id }) => id));
      const asked = request({
        budgetMs: next() * 200,
        inputBytes: next() * 10_000,
        tried,
        kinds: next() < 0.3 ? PLACE_KINDS.filter(() => next() < 0.7) : undefined,
        maxCost: next() < 0.3 ? Math.floor(next() * 4) : undefined,
      });
      const { chosen, rows } = choosePlace(places, asked);
      expect(rows).toHaveLength(places.length);
      const feasible = rows.filter((row) => row.verdict === 'feasible');
      expect(chosen === undefined).toBe(feasible.length === 0);
      if (chosen === undefined) continue;
      // Said again here, apart from how the choice says it.
      const { place: one, finishMs } = chosen;
      expect(finishMs).toBeLessThanOrEqual(asked.budgetMs * 0.9);
      expect(finishMs).toBe(expectedFinish(one, asked));
      expect([one.unusable, one.hasPackage, tried.has(one.id)]).toEqual([undefined, true, false]);
      expect(asked.kinds?.includes(one.kind) ?? true).toBe(true);
      expect(one.cost).toBeLessThanOrEqual(asked.maxCost ?? Number.POSITIVE_INFINITY);
      const keeping = feasible.filter((row) => row.finishMs <= asked.budgetMs * 0.8);
      if (keeping.length > 0) expect(one.cost).toBe(Math.min(...keeping.map((row) => row.place.cost)));
    }
  });

  it('asks each place once that is too slow only by old numbers, the earliest first, and none that fresh news calls slow', () => {
    const next = random(41);
    let asked = 0;
    for (let round = 0; round < 1000; round++) {
      const places = Array.from({ length: Math.floor(next() * 9) }, (_, i) => anyPlace(next, `p${i}`));
      const tried = new Set<string>();
      const one = request({ budgetMs: next() * 40, inputBytes: next() * 10_000, tried });
      const finishes: number[] = [];
      for (;;) {
        const choice = choosePlace(places, one);
        const found = choice.chosen ?? doubtfulPlace(choice, one);
        if (choice.chosen !== undefined) expect(doubtfulPlace(choice, one)).toBeUndefined();
        else if (found !== undefined) {
          asked++;
          finishes.push(found.finishMs);
          const { news } = found.place;
          expect(found.verdict).toBe('too slow');
          expect(news === undefined || one.now - news.at > NEWS_MS).toBe(true);
        } else {
          const left = choice.rows.filter(({ verdict }) => verdict === 'too slow');
          for (const { place: slow } of left) expect(one.now - slow.news!.at).toBeLessThanOrEqual(NEWS_MS);
          break;
        }
        expect(tried.has(found!.place.id)).toBe(false);
        tried.add(found!.place.id);
      }
      // One that failed lately joins only when the others have been tried.
      if (places.every(({ isOut }) => !isOut)) expect(finishes).toEqual([...finishes].sort((a, b) => a - b));
    }
    expect(asked).toBeGreaterThan(100);
  });
  it('asks nobody when no time is left', () => {
    const places = [place('a')];
    for (const budgetMs of [0, -1, Number.NaN]) {
      const one = request({ budgetMs });
      expect(doubtfulPlace(choosePlace(places, one), one)).toBeUndefined();
    }
    const one = request({ budgetMs: 1 });
    expect(doubtfulPlace(choosePlace(places, one), one)?.place.id).toBe('a');
  });

  it('a hundred vehicles that hear the same news spread, each second anew', () => {
    const places = [0, 1, 2, 3].map((i) => place(`rsu-${i}`, { news: { queueMs: i, at: 10_000 } }));
    const taken = (now: number) => {
      const counts = new Map<string, number>();
      for (let car = 0; car < 100; car++) {
        const id = chosenId(places, { vehicle: `car-${car}`, now })!;
        counts.set(id, (counts.get(id) ?? 0) + 1);
      }
      return counts;
    };
    for (const now of [10_000, 10_500]) {
      const counts = taken(now);
      expect(counts.size).toBe(4);
      for (const count of counts.values()) expect(count).toBeLessThan(50);
    }
    // One vehicle stays where it is within a second, and does not stay there for ever.
    const ofOne = (now: number) =>
      chosenId(
        places.map((one) => ({ ...one, news: undefined })),
        { now },
      );
    expect(ofOne(10_000)).toBe(ofOne(10_999));
    expect(new Set(Array.from({ length: 40 }, (_, i) => ofOne(i * 1000))).size).toBe(4);
  });
});

describe('the circuit breaker', () => {
  it('two failures in a row, or one silent loss', () => {
    const health = new PlaceHealth();
    health.failed(0, false);
    expect(health.isOut(0)).toBe(false);
    health.succeeded();
    health.failed(1, false);
    expect(health.isOut(1)).toBe(false);
    health.failed(2, false);
    expect([health.isOut(2), health.isOut(1001), health.isOut(1002)]).toEqual([true, true, false]);
    const silent = new PlaceHealth();
    silent.failed(0, true);
    expect(silent.isOut(999)).toBe(true);
  });
  it('lets one probe through, and doubles up to 30 s', () => {
    const health = new PlaceHealth();
    let now = 0;
    health.failed(now, true);
    for (const outMs of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
      expect(health.isOut(now + outMs - 1)).toBe(true);
      now += outMs;
      expect(health.isOut(now)).toBe(false);
      health.begin(now);
      expect(health.isOut(now)).toBe(true);
      health.failed(now, false);
    }
    now += 30_000;
    health.begin(now);
    health.abandoned();
    expect(health.isOut(now)).toBe(false);
    health.begin(now);
    health.succeeded();
    health.begin(now);
    expect(health.isOut(now)).toBe(false);
  });
  it('what was sent before it was put out does not double its time', () => {
    const health = new PlaceHealth();
    for (let i = 0; i < 50; i++) health.failed(i, true);
    expect([health.isOut(999), health.isOut(1000)]).toEqual([true, false]);
  });
});

it.each(['here', 'cloud'])('knows the kind %s', (kind) => expect(isPlaceKind(kind)).toBe(true));
it.each(['Here', '', undefined, 3, 'edge'])('%j is not a kind', (kind) => expect(isPlaceKind(kind)).toBe(false));

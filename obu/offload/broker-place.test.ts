import { describe, expect, it } from 'vitest';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { BrokerLink } from '../../shared/v2e-client/broker-link.ts';
import type { BrokerResult } from '../../shared/v2e-client/offload-result.ts';
import { BrokerPlace } from './broker-place.ts';

const TASK = 'sha256:task';

/** Only what a place reads of its link. */
function placeOf(answers = true): BrokerPlace {
  const link = { place: 'broker:rsu-1', offers: [{ digest: TASK }], maxInputOf: () => 1000, answers };
  return new BrokerPlace(link as unknown as BrokerLink, 'roadside', 1);
}

function run(place: BrokerPlace, change: Partial<BrokerResult> = {}, task = TASK, bytes = 10, agoMs = 50): void {
  const visit = place.begin(task, bytes, performance.now() - agoMs);
  const times = { queueMs: 1, runMs: 20, startMs: 0, output: Buffer.alloc(0) };
  place.succeeded(visit, { ...times, ...change } as BrokerResult);
}
function runs(place: BrokerPlace, count: number, change?: Partial<BrokerResult>, task?: string, bytes?: number): void {
  for (let i = 0; i < count; i++) run(place, change, task, bytes);
}
const view = (place: BrokerPlace, task = TASK) => place.view(task, performance.now(), undefined);
const numbersOf = (place: BrokerPlace) => {
  const { roundTripMs, bytesPerMs, busyUntil, usualQueueMs, ownQueueMs, runMs = 0, news } = view(place);
  return [roundTripMs, busyUntil, usualQueueMs, ownQueueMs, runMs, news?.queueMs ?? 0, 1 / bytesPerMs];
};

describe('what the offloads teach about a place', () => {
  it('nothing at first: it may be asked, and a task that it does not offer may not', () => {
    const place = placeOf();
    expect(view(place)).toMatchObject({
      ...{ id: 'broker:rsu-1', roundTripMs: 0, bytesPerMs: Number.POSITIVE_INFINITY, runMs: undefined },
      ...{ news: undefined, hasPackage: true, maxInput: 1000, isOut: false },
    });
    expect(view(place, 'sha256:other').hasPackage).toBe(false);
    expect(place.mayRelearn(performance.now())).toBe(true);
  });

  it('the way, the queue and the run of each task, and how wide the way is', () => {
    const place = placeOf();
    runs(place, 5);
    const { roundTripMs, runMs, news, usualQueueMs } = view(place);
    expect([runMs, usualQueueMs, news!.queueMs]).toEqual([20, 1, 1]);
    expect(roundTripMs).toBeGreaterThanOrEqual(29);
    expect(view(place, 'sha256:other').runMs).toBeUndefined();
    runs(place, 5, { runMs: 0, queueMs: 0 }, TASK, 1_000_000);
    expect(view(place).bytesPerMs).toBeLessThan(1_000_000 / 0.01);
    place.begin(TASK, 1_000_000, performance.now());
    expect(view(place).busyUntil).toBeGreaterThan(0);
    expect(place.mayRelearn(performance.now())).toBe(false);
  });

  it.each([Number.NaN, -1e9, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, undefined as unknown as number])(
    'times of %s in every answer leave numbers that can be reckoned with',
    (bad) => {
      for (const bytes of [10, 1_000_000]) {
        for (const key of ['queueMs', 'runMs', 'startMs'] as const) {
          const place = placeOf();
          runs(place, 20, { [key]: bad }, TASK, bytes);
          for (const number of numbersOf(place)) expect(number).not.toBeNaN();
          const [roundTripMs, busyUntil, usualQueueMs, ownQueueMs, runMs] = numbersOf(place);
          for (const number of [roundTripMs, busyUntil, usualQueueMs, ownQueueMs, runMs])
            expect(Number.isFinite(number) && number! >= 0).toBe(true);
        }
      }
    },
  );

  it('remembers the runs of 64 tasks, and forgets the one that it learnt first', () => {
    const place = placeOf();
    for (let i = 0; i < 65; i++) runs(place, 5, {}, `sha256:${i}`);
    const known = Array.from({ length: 65 }, (_, i) => view(place, `sha256:${i}`).runMs);
    expect(known).toEqual([undefined, ...Array.from({ length: 64 }, () => 20)]);
  });

  it('counts its own queue once more of ours are there than it runs at once, and no longer after they ended', () => {
    const place = placeOf();
    runs(place, 5);
    expect(view(place).ownQueueMs).toBe(0);
    const now = performance.now();
    const visits = Array.from({ length: 8 }, () => place.begin(TASK, 10, now));
    // Of four at once, the ninth waits behind five.
    expect(view(place).ownQueueMs).toBe((20 * 5) / 4);
    for (const _ of visits) place.failed(new KerbError(ErrorCode.Cancelled, 'given up'));
    expect(view(place)).toMatchObject({ ownQueueMs: 0, isOut: false });
  });

  it('a refusal is an answer; two losses, or a silent one, put it out', () => {
    const lost = () => new KerbError(ErrorCode.BrokerLost, 'lost');
    const fail = (place: BrokerPlace, error: KerbError) => {
      place.begin(TASK, 10, performance.now());
      place.failed(error);
      return view(place).isOut;
    };
    const place = placeOf();
    expect(fail(place, lost())).toBe(false);
    expect(fail(place, new KerbError(ErrorCode.OffloadRefused, 'full', { refusal: ErrorCode.QueueFull }))).toBe(false);
    expect([fail(place, lost()), fail(place, lost())]).toEqual([false, true]);
    expect(fail(placeOf(false), new KerbError(ErrorCode.BudgetExhausted, 'silent'))).toBe(true);
  });
});

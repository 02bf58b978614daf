import { describe, expect, test } from 'vitest';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { seededRandom } from '../../shared/base/random.ts';
import { Admission } from './admission.ts';
import type { AdmissionLimits, AdmissionOptions, Waiting } from './terms.ts';

interface Entry extends Waiting {
  readonly name: string;
}

const A = 'sha256:a';
const B = 'sha256:b';

interface EntryOptions extends Partial<Waiting> {
  at?: number;
  budget?: number;
  digest?: string;
  bytes?: number;
}

function entry(name: string, options: EntryOptions = {}): Entry {
  const { at = 0, budget = 100, tenant = 'acme', digest = A, bytes = 1 } = options;
  const { vehicle = name, serviceClass = 'normal', dwellMs = Number.POSITIVE_INFINITY } = options;
  const deadline = new Deadline(budget, at);
  return { name, taskDigest: digest, tenant, vehicle, serviceClass, dwellMs, deadline, input: { length: bytes } };
}

/** Runs cost nothing here, unless `costMs` says so. */
function admission(
  limits: Partial<AdmissionLimits> & { costMs?: number } = {},
  rest: Partial<AdmissionOptions<Entry>> = {},
) {
  const spent: [string, number][] = [];
  const { costMs = 0, ...others } = limits;
  const queue = new Admission<Entry>({
    limits: {
      maxQueuedPerPackage: 4,
      maxQueuedPerTenant: 100,
      maxQueuedBytes: 1e9,
      maxRunning: 1000,
      longRunMs: 50,
      yieldMs: 50,
      wayBackMs: 0,
      ...others,
    },
    ...rest,
    onDropped: (dropped, waited) => spent.push([dropped.name, waited]),
  });
  for (const digest of [A, B]) queue.declare(digest, costMs);
  return { queue, spent };
}

/** The next one of this package; its run ends at once. */
function take(queue: Admission<Entry>, digest: string, now: number): Entry | undefined {
  const taken = queue.take(now, (free) => free === digest);
  if (taken !== undefined) queue.ended(taken, now, 'cancelled');
  return taken;
}

const ANY = () => true;

describe('order', () => {
  test('earliest deadline first, each package for itself', () => {
    const { queue } = admission();
    for (const [name, budget] of [
      ['late', 90],
      ['soon', 20],
      ['later', 95],
    ] as const)
      queue.admit(entry(name, { budget }), 0);
    queue.admit(entry('x', { budget: 1, digest: B }), 0);
    expect([take(queue, A, 0), take(queue, A, 0), take(queue, A, 0)].map((e) => e?.name)).toEqual([
      'soon',
      'late',
      'later',
    ]);
  });

  test('of the same deadline first come, first served, each package for itself', () => {
    const { queue } = admission();
    for (const e of [entry('1'), entry('x', { digest: B }), entry('2'), entry('3')])
      expect(queue.admit(e, 0)).toBeUndefined();
    expect(queue.queued).toBe(4);
    expect([take(queue, A, 1), take(queue, A, 1), take(queue, A, 1), take(queue, A, 1)].map((e) => e?.name)).toEqual([
      '1',
      '2',
      '3',
      undefined,
    ]);
    expect(take(queue, B, 1)?.name).toBe('x');
    expect(take(queue, 'sha256:none', 1)).toBeUndefined();
    expect(queue.queued).toBe(0);
  });

  test('a long stream keeps its order and its count', () => {
    const { queue } = admission({ maxQueuedPerPackage: 1000, maxQueuedPerTenant: 1000 });
    let given = 0;
    let taken = 0;
    for (let round = 0; round < 500; round++) {
      for (let i = 0; i < 3; i++) queue.admit(entry(String(given++)), 0);
      for (let i = 0; i < 2; i++) expect(take(queue, A, 0)?.name).toBe(String(taken++));
      expect(queue.queuedFor(A)).toBe(given - taken);
    }
    while (taken < given) expect(take(queue, A, 0)?.name).toBe(String(taken++));
    expect(take(queue, A, 0)).toBeUndefined();
  });
});

describe('budgets', () => {
  test('what waited too long is dropped before it is run, and told how long it waited', () => {
    const { queue, spent } = admission();
    queue.admit(entry('short', { at: 0, budget: 10 }), 0);
    queue.admit(entry('long', { at: 5, budget: 100 }), 5);
    expect(take(queue, A, 10)?.name).toBe('long');
    expect(spent).toEqual([['short', 10]]);
  });

  test('a budget that is spent on arrival is refused', () => {
    const { queue } = admission();
    expect(queue.admit(entry('late', { at: 0, budget: 0 }), 0)?.code).toBe(ErrorCode.BudgetSpentInQueue);
    expect(queue.queued).toBe(0);
  });

  test('those whose time is over keep nobody out', () => {
    const { queue, spent } = admission({ maxQueuedPerPackage: 2 });
    queue.admit(entry('1', { budget: 10 }), 0);
    queue.admit(entry('2', { budget: 50 }), 0);
    expect(queue.admit(entry('3', { at: 20 }), 20)).toBeUndefined();
    expect(spent.map(([name]) => name)).toEqual(['1']);
    expect(queue.queuedFor(A)).toBe(2);
  });

  test('sweep drops the spent ones without taking any', () => {
    const { queue, spent } = admission();
    queue.admit(entry('1', { budget: 10 }), 0);
    queue.admit(entry('2', { budget: 50 }), 0);
    queue.sweep(30);
    expect(spent.map(([name]) => name)).toEqual(['1']);
    expect(take(queue, A, 30)?.name).toBe('2');
  });
});

describe('the earliest deadline', () => {
  test('is that of what waits, over all packages', () => {
    const { queue, spent } = admission();
    expect(queue.earliestDeadline).toBe(Number.POSITIVE_INFINITY);
    queue.admit(entry('1', { budget: 50 }), 0);
    queue.admit(entry('2', { budget: 90 }), 0);
    queue.admit(entry('x', { budget: 20, digest: B }), 0);
    expect(queue.earliestDeadline).toBe(20);
    queue.sweep(19);
    expect(spent).toEqual([]);
    queue.sweep(20);
    expect(spent).toEqual([['x', 20]]);
    expect(queue.earliestDeadline).toBe(50);
    queue.sweep(60);
    expect(queue.earliestDeadline).toBe(90);
  });

  test('may be too early after one was taken, never too late, and forgets what is gone', () => {
    const { queue, spent } = admission();
    queue.admit(entry('1', { budget: 10 }), 0);
    queue.admit(entry('2', { budget: 90 }), 0);
    take(queue, A, 5);
    expect(queue.earliestDeadline).toBe(10);
    queue.sweep(10);
    expect(spent).toEqual([]);
    expect(queue.earliestDeadline).toBe(90);
    take(queue, A, 11);
    expect(queue.earliestDeadline).toBe(Number.POSITIVE_INFINITY);
    queue.admit(entry('3', { at: 12, budget: 1000 }), 12);
    expect(queue.earliestDeadline).toBe(1012);
  });
});

describe('refusals', () => {
  test.each([
    [0, 1],
    [30, 60],
    [1e6, 10_000],
  ])('a full queue of runs of %i ms, with a hint that follows from them', (costMs, hint) => {
    const { queue } = admission({ maxQueuedPerPackage: 4, maxRunning: 1, costMs });
    for (let i = 0; i < 4; i++) expect(queue.admit(entry(String(i), { budget: 1e8 }), 0)).toBeUndefined();
    const full = queue.admit(entry('5', { budget: 1e8 }), 0);
    expect(full).toMatchObject({ code: ErrorCode.QueueFull, retryAfterMs: hint });
    expect(full?.message).toMatch(/^4 offloads wait/);
    expect(queue.admit(entry('other', { digest: B, budget: 1e8 }), 0)).toBeUndefined();
  });

  test('a queue that others have filled keeps out no tenant with less than its part, and stays bounded', () => {
    const { queue } = admission({ maxQueuedPerPackage: 4 });
    for (let i = 0; i < 4; i++) expect(queue.admit(entry(`${i}`, { tenant: 'flood' }), 0)).toBeUndefined();
    const fresh = (i: number) => queue.admit(entry(`n${i}`, { tenant: 'new' }), 0)?.code;
    expect([fresh(1), fresh(2), fresh(3)]).toEqual([undefined, undefined, ErrorCode.QueueFull]);
    expect(queue.admit(entry('5', { tenant: 'flood' }), 0)?.code).toBe(ErrorCode.QueueFull);
    for (let i = 0; i < 50; i++) queue.admit(entry(`m${i}`, { tenant: `t${i}` }), 0);
    expect(queue.queued).toBe(8);
  });

  test('a tenant with too many waiting keeps no other tenant out', () => {
    const { queue } = admission({ maxQueuedPerTenant: 2 });
    queue.admit(entry('1'), 0);
    queue.admit(entry('2', { digest: B }), 0);
    expect(queue.admit(entry('3'), 0)).toMatchObject({ code: ErrorCode.TooManyFromTenant });
    expect(queue.admit(entry('4', { tenant: 'other' }), 0)).toBeUndefined();
    take(queue, B, 0);
    expect(queue.admit(entry('5'), 0)).toBeUndefined();
  });
});

describe('bytes', () => {
  test('are bounded: beyond them a full queue, and for one tenant half of them', () => {
    const { queue } = admission({ maxQueuedBytes: 100 });
    queue.admit(entry('1', { bytes: 30 }), 0);
    expect(queue.admit(entry('2', { bytes: 21 }), 0)).toMatchObject({
      code: ErrorCode.TooManyFromTenant,
      message: 'tenant acme has 30 bytes of input waiting here; 21 more are too many',
    });
    expect(queue.admit(entry('3', { bytes: 20 }), 0)).toBeUndefined();
    expect(queue.admit(entry('4', { bytes: 40, tenant: 'b', digest: B }), 0)).toBeUndefined();
    expect(queue.admit(entry('5', { bytes: 11, tenant: 'c' }), 0)).toMatchObject({
      code: ErrorCode.QueueFull,
      message: '90 bytes of input wait here already; 11 more are too many',
      retryAfterMs: expect.toSatisfy((hint: number) => hint > 0),
    });
    expect(queue.queuedBytes).toBe(90);
    take(queue, B, 0);
    expect(queue.admit(entry('5', { bytes: 11, tenant: 'c' }), 0)).toBeUndefined();
  });

  test('a single offload larger than all of them may wait, and those whose time is over make room', () => {
    const { queue, spent } = admission({ maxQueuedBytes: 100 });
    expect(queue.admit(entry('1', { bytes: 500, budget: 10 }), 0)).toBeUndefined();
    expect(queue.admit(entry('2', { bytes: 1, tenant: 'b' }), 9)?.code).toBe(ErrorCode.QueueFull);
    expect(queue.admit(entry('2', { bytes: 1, tenant: 'b' }), 10)).toBeUndefined();
    expect(spent).toEqual([['1', 10]]);
    expect(queue.queuedBytes).toBe(1);
  });
});

test('with any traffic: what was admitted comes out once, run or spent, and the counts end at nothing', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = seededRandom(seed);
    const { queue, spent } = admission({ maxQueuedPerPackage: 20, maxQueuedPerTenant: 15, maxQueuedBytes: 300 });
    const admitted = new Set<string>();
    const out: string[] = [];
    for (let now = 0; now < 400; now++) {
      const digest = random() < 0.5 ? A : B;
      if (random() < 0.7) {
        const budget = 1 + Math.floor(random() * 60);
        const e = entry(`${now}`, { at: now, budget, digest, bytes: Math.floor(random() * 40), tenant: `t${now % 3}` });
        if (queue.admit(e, now) === undefined) admitted.add(e.name);
      } else {
        const taken = take(queue, digest, now);
        if (taken !== undefined) out.push(taken.name);
        if (taken !== undefined) expect(taken.deadline.at).toBeGreaterThan(now);
      }
      expect(queue.queuedFor(A) + queue.queuedFor(B)).toBe(queue.queued);
    }
    for (const digest of [A, B]) out.push(...queue.drain(digest).map(({ name }) => name));
    const all = [...out, ...spent.map(([name]) => name)];
    expect(new Set(all).size, `seed ${seed}`).toBe(all.length);
    expect(new Set(all)).toEqual(admitted);
    expect([queue.queued, queue.queuedBytes]).toEqual([0, 0]);
  }
});

test('drain hands back what waits', () => {
  const { queue, spent } = admission();
  queue.admit(entry('1', { budget: 1 }), 0);
  queue.admit(entry('2'), 0);
  expect(queue.drain(A).map((e) => e.name)).toEqual(['1', '2']);
  expect(queue.queued).toBe(0);
  expect(queue.drain('sha256:none')).toEqual([]);
  expect(spent).toEqual([]);
});

test('a package that is forgotten leaves nothing behind, and may come again', () => {
  const { queue } = admission({ maxQueuedPerPackage: 1, maxRunning: 1, costMs: 1000 });
  queue.admit(entry('1', { budget: 1e4 }), 0);
  expect(queue.admit(entry('2', { budget: 1e4 }), 0)?.retryAfterMs).toBe(500);
  expect(queue.drain(A).map(({ name }) => name)).toEqual(['1']);
  queue.forget(A);
  expect(queue.admit(entry('3'), 0)).toBeUndefined();
  expect(queue.admit(entry('4'), 0)?.retryAfterMs).toBe(1);
  expect(take(queue, A, 1)?.name).toBe('3');
});

describe('only what can finish', () => {
  test('is taken: the work ahead, the run and the way back against the budget', () => {
    const { queue } = admission({ maxRunning: 1, costMs: 10, wayBackMs: 2 });
    expect(queue.admit(entry('1', { budget: 30 }), 0)).toBeUndefined();
    expect(queue.take(0, ANY)?.name).toBe('1');
    expect(queue.admit(entry('2', { budget: 30 }), 0)).toBeUndefined();
    const refused = queue.admit(entry('3', { budget: 30 }), 0);
    expect(refused?.code).toBe(ErrorCode.DeadlineUnreachable);
    // Two ahead of it, its own run of a little more than 10, and 2 for the way.
    expect(refused?.message).toMatch(/queue 20, run 10, way back 2\.0/);
    expect(refused?.retryAfterMs).toBeGreaterThan(0);
    expect(refused?.retryAfterMs).toBeLessThan(10);
    expect(queue.admit(entry('4', { budget: 40 }), 0)).toBeUndefined();
  });

  test('what cannot be met without a queue either has no hint', () => {
    const { queue } = admission({ costMs: 100 });
    queue.admit(entry('probe', { budget: 30 }), 0);
    expect(queue.admit(entry('1', { budget: 30 }), 0)).toMatchObject({
      code: ErrorCode.DeadlineUnreachable,
      retryAfterMs: 0,
    });
  });

  test('in reach: the time that the vehicle stays counts as the budget does', () => {
    const { queue, spent } = admission({ maxRunning: 1, costMs: 10 });
    expect(queue.admit(entry('1', { budget: 1000 }), 0)).toBeUndefined();
    expect(queue.take(0, ANY)?.name).toBe('1');
    expect(queue.admit(entry('2', { budget: 1000, dwellMs: 15 }), 0)?.code).toBe(ErrorCode.DeadlineUnreachable);
    expect(queue.admit(entry('3', { budget: 1000, dwellMs: 25 }), 0)).toBeUndefined();
    queue.sweep(25);
    expect(spent).toEqual([['3', 25]]);
  });

  test('with no tender, its start is counted', () => {
    const tendersOf = () => ({ ready: 0, most: 2, startMs: 40 });
    const { queue } = admission({ costMs: 10 }, { tendersOf });
    expect(queue.admit(entry('1', { budget: 60 }), 0)).toBeUndefined();
    expect(queue.admit(entry('2', { budget: 45 }), 0)).toBeUndefined(); // to see whether that is so
    expect(queue.admit(entry('3', { budget: 45 }), 0)?.message).toMatch(/start 40/);
  });

  test('what has too little left at its turn is dropped before it costs a tender', () => {
    const { queue, spent } = admission({ maxRunning: 1, costMs: 10 });
    const first = entry('first', { budget: 100 });
    queue.admit(first, 0);
    expect(queue.take(0, ANY)).toBe(first);
    queue.admit(entry('late', { budget: 25 }), 0);
    queue.admit(entry('calm', { budget: 100 }), 0);
    // It took twice as long as it had been expected to.
    queue.ended(first, 20, 'met');
    expect(queue.take(20, ANY)?.name).toBe('calm');
    expect(spent).toEqual([['late', 20]]);
  });
});

describe('estimates', () => {
  /** Runs one of this tenant, as long as it says. */
  function runOne(queue: Admission<Entry>, now: number, ms: number, tenant: string, budget: number): boolean {
    const one = entry(`${tenant}${now}`, { at: now, tenant, budget });
    if (queue.admit(one, now) !== undefined) return false;
    expect(queue.take(now, ANY)).toBe(one);
    const met = ms < budget;
    queue.ended(one, now + Math.min(ms, budget), met ? 'met' : 'missed');
    return true;
  }

  test('of one tenant make no other tenant wait outside', () => {
    const { queue } = admission({ costMs: 5 });
    for (let i = 0; i < 50; i++) runOne(queue, i * 2000, 900, 'slow', 1000);
    expect(queue.admit(entry('slow', { at: 1e5, tenant: 'slow', budget: 50 }), 1e5)).toBeUndefined(); // a probe
    expect(queue.admit(entry('slow', { at: 1e5, tenant: 'slow', budget: 50 }), 1e5)?.code).toBe(
      ErrorCode.DeadlineUnreachable,
    );
    expect(queue.admit(entry('other', { at: 1e5, tenant: 'other', budget: 50 }), 1e5)).toBeUndefined();
  });

  test('that are too long do not stay so: some are let through, and soon all are', () => {
    const { queue } = admission({ costMs: 5 });
    let now = 0;
    for (; now < 100_000; now += 1000) runOne(queue, now, 400, 'acme', 1000);
    let refused = 0;
    let row = 0;
    // Now it takes 5 ms, and nobody gives it more than 50.
    for (; row < 20; now += 10) {
      const taken = runOne(queue, now, 5, 'acme', 50);
      if (!taken) refused++;
      row = taken ? row + 1 : 0;
      expect(refused).toBeLessThan(500);
    }
    expect(queue.expectedRunMs('acme', A, 1)).toBeLessThan(50);
  });

  test('probes of what never finishes take a small part of the time', () => {
    const { queue } = admission({ costMs: 5 });
    let spentMs = 0;
    for (let now = 0; now < 60_000; now += 10) if (runOne(queue, now, 1e6, 'acme', 50)) spentMs += 50;
    expect(spentMs).toBeGreaterThan(0);
    expect(spentMs).toBeLessThan(60_000 * 0.1);
  });

  test('go by the size of the input', () => {
    const { queue } = admission({ costMs: 5 });
    for (let now = 0; now < 10_000; now += 100) {
      const large = now % 200 === 0;
      const one = entry(`${now}`, { at: now, bytes: large ? 100_000 : 100 });
      queue.admit(one, now);
      queue.take(now, ANY);
      queue.ended(one, now + (large ? 60 : 3), 'met');
    }
    expect(queue.expectedRunMs('acme', A, 100)).toBeLessThan(4);
    expect(queue.expectedRunMs('acme', A, 100_000)).toBeGreaterThan(55);
    expect(queue.expectedRunMs('acme', A, 10)).toBe(0);
  });
});

describe('what runs', () => {
  test('is bounded: as many as there are slots, of all tenants together', () => {
    const { queue } = admission({ maxRunning: 2 });
    for (const name of ['1', '2', '3']) queue.admit(entry(name, { tenant: name }), 0);
    const first = queue.take(0, ANY)!;
    expect(queue.take(0, ANY)?.name).toBe('2');
    expect(queue.take(0, ANY)).toBeUndefined();
    queue.ended(first, 1, 'met');
    expect(queue.take(1, ANY)?.name).toBe('3');
    expect(queue.running).toBe(2);
  });

  test("for very long stands in nobody's way, and its tenant gets no more for it", () => {
    const { queue } = admission({ maxRunning: 2, longRunMs: 50, maxQueuedPerPackage: 10 });
    for (const name of ['1', '2', '3', '4']) queue.admit(entry(name, { tenant: 'loops', budget: 1e6 }), 0);
    queue.take(0, ANY);
    queue.take(0, ANY);
    queue.admit(entry('calm', { tenant: 'calm', budget: 200 }), 0);
    expect(queue.take(49, ANY)).toBeUndefined();
    expect(queue.wakeAt).toBe(50);
    expect(queue.take(50, ANY)?.name).toBe('calm');
    // There is a slot, but not for whom two run already.
    expect(queue.take(50, ANY)).toBeUndefined();
    expect([queue.runningOf('loops'), queue.runningOf('calm'), queue.queued]).toEqual([2, 1, 2]);
  });

  test('for long makes way early for a tenant of which nothing runs, not for more of its own', () => {
    const long: string[] = [];
    const { queue } = admission(
      { maxRunning: 1, longRunMs: 50, yieldMs: 10 },
      { onLong: ({ name }) => long.push(name) },
    );
    for (const name of ['1', '2']) queue.admit(entry(name, { tenant: 'large', budget: 1000 }), 0);
    queue.take(0, ANY);
    queue.admit(entry('calm', { tenant: 'calm', budget: 200 }), 1);
    expect(queue.take(9, ANY)).toBeUndefined();
    expect(queue.wakeAt).toBe(10);
    expect(queue.take(10, ANY)?.name).toBe('calm');
    expect(queue.take(30, ANY)).toBeUndefined();
    expect([queue.runningOf('large'), queue.runningOf('calm'), queue.queued]).toEqual([1, 1, 1]);
    // Only what goes on and on is worth one more tender.
    expect(long).toEqual([]);
    expect(queue.wakeAt).toBe(50);
    queue.take(50, ANY);
    expect(long).toEqual(['1']);
  });

  test('for long makes way early for nothing that is less urgent', () => {
    const { queue } = admission({ maxRunning: 1, longRunMs: 50, yieldMs: 10 });
    queue.admit(entry('urgent', { tenant: 'one', serviceClass: 'safety', budget: 1000 }), 0);
    queue.take(0, ANY);
    queue.admit(entry('later', { tenant: 'other', serviceClass: 'idle', budget: 1000 }), 1);
    expect(queue.take(10, ANY)).toBeUndefined();
    expect(queue.wakeAt).toBe(50);
    expect(queue.take(50, ANY)?.name).toBe('later');
  });
});

describe('cancelled', () => {
  test('while it waits, it is taken out; nothing else is', () => {
    const { queue } = admission();
    const [one, two] = [entry('1'), entry('2')];
    queue.admit(one, 0);
    queue.admit(two, 0);
    expect(queue.remove(one)).toBe(true);
    expect(queue.remove(one)).toBe(false);
    expect(queue.remove(entry('2'))).toBe(false);
    expect(queue.take(0, ANY)).toBe(two);
    expect(queue.remove(two)).toBe(false);
    expect([queue.queued, queue.queuedBytes]).toEqual([0, 0]);
  });
});

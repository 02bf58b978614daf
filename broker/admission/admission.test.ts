import { describe, expect, test } from 'vitest';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { seededRandom } from '../../shared/base/random.ts';
import { Admission, type AdmissionLimits, type Waiting } from './admission.ts';

interface Entry extends Waiting {
  readonly name: string;
}

const A = 'sha256:a';
const B = 'sha256:b';

function entry(
  name: string,
  options: { at?: number; budget?: number; tenant?: string; digest?: string; bytes?: number } = {},
): Entry {
  const { at = 0, budget = 100, tenant = 'acme', digest = A, bytes = 1 } = options;
  return { name, taskDigest: digest, tenant, deadline: new Deadline(budget, at), input: { length: bytes } };
}

function admission(limits: Partial<AdmissionLimits> = {}) {
  const spent: [string, number][] = [];
  const queue = new Admission<Entry>(
    { maxQueuedPerPackage: 4, maxQueuedPerTenant: 100, maxQueuedBytes: 1e9, ...limits },
    (dropped, waited) => spent.push([dropped.name, waited]),
  );
  return { queue, spent };
}

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
    expect([queue.take(A, 0), queue.take(A, 0), queue.take(A, 0)].map((e) => e?.name)).toEqual([
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
    expect([queue.take(A, 1), queue.take(A, 1), queue.take(A, 1), queue.take(A, 1)].map((e) => e?.name)).toEqual([
      '1',
      '2',
      '3',
      undefined,
    ]);
    expect(queue.take(B, 1)?.name).toBe('x');
    expect(queue.take('sha256:none', 1)).toBeUndefined();
    expect(queue.queued).toBe(0);
  });

  test('a long stream keeps its order and its count', () => {
    const { queue } = admission({ maxQueuedPerPackage: 1000, maxQueuedPerTenant: 1000 });
    let given = 0;
    let taken = 0;
    for (let round = 0; round < 500; round++) {
      for (let i = 0; i < 3; i++) queue.admit(entry(String(given++)), 0);
      for (let i = 0; i < 2; i++) expect(queue.take(A, 0)?.name).toBe(String(taken++));
      expect(queue.queuedFor(A)).toBe(given - taken);
    }
    while (taken < given) expect(queue.take(A, 0)?.name).toBe(String(taken++));
    expect(queue.take(A, 0)).toBeUndefined();
  });
});

describe('budgets', () => {
  test('what waited too long is dropped before it is run, and told how long it waited', () => {
    const { queue, spent } = admission();
    queue.admit(entry('short', { at: 0, budget: 10 }), 0);
    queue.admit(entry('long', { at: 5, budget: 100 }), 5);
    expect(queue.take(A, 10)?.name).toBe('long');
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
    expect(queue.take(A, 30)?.name).toBe('2');
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
    queue.take(A, 5);
    expect(queue.earliestDeadline).toBe(10);
    queue.sweep(10);
    expect(spent).toEqual([]);
    expect(queue.earliestDeadline).toBe(90);
    queue.take(A, 11);
    expect(queue.earliestDeadline).toBe(Number.POSITIVE_INFINITY);
    queue.admit(entry('3', { at: 12, budget: 1000 }), 12);
    expect(queue.earliestDeadline).toBe(1012);
  });
});

describe('refusals', () => {
  test('a full queue, with a hint that follows the run time', () => {
    const { queue } = admission({ maxQueuedPerPackage: 4 });
    for (let i = 0; i < 4; i++) queue.admit(entry(String(i)), 0);
    const before = queue.admit(entry('5'), 0);
    expect(before).toMatchObject({ code: ErrorCode.QueueFull, retryAfterMs: 2 });
    expect(before?.message).toMatch(/^4 offloads wait/);
    queue.learn(A, 30);
    expect(queue.admit(entry('5'), 0)?.retryAfterMs).toBe(60);
    queue.learn(A, 1e9);
    expect(queue.admit(entry('5'), 0)?.retryAfterMs).toBe(10_000);
    expect(queue.admit(entry('other', { digest: B }), 0)).toBeUndefined();
  });

  test('a tenant with too many waiting keeps no other tenant out', () => {
    const { queue } = admission({ maxQueuedPerTenant: 2 });
    queue.admit(entry('1'), 0);
    queue.admit(entry('2', { digest: B }), 0);
    expect(queue.admit(entry('3'), 0)).toMatchObject({ code: ErrorCode.TooManyFromTenant });
    expect(queue.admit(entry('4', { tenant: 'other' }), 0)).toBeUndefined();
    queue.take(B, 0);
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
    queue.take(B, 0);
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
        const taken = queue.take(digest, now);
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

test('a package that is forgotten leaves no hint behind, and may come again', () => {
  const { queue } = admission({ maxQueuedPerPackage: 1 });
  queue.learn(A, 1000);
  queue.admit(entry('1'), 0);
  expect(queue.admit(entry('2'), 0)?.retryAfterMs).toBe(500);
  expect(queue.drain(A).map(({ name }) => name)).toEqual(['1']);
  queue.forget(A);
  expect(queue.admit(entry('3'), 0)).toBeUndefined();
  expect(queue.admit(entry('4'), 0)?.retryAfterMs).toBe(1);
  expect(queue.take(A, 1)?.name).toBe('3');
});

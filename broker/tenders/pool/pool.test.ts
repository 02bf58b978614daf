import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { Deadline } from '../../../shared/base/deadline.ts';
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { silentLog } from '../../../shared/base/log.ts';
import { FakeTender } from '../../../test/support/fake-tender.ts';
import { TenderPool } from './pool.ts';
import type { CallEnd } from './pool-options.ts';
import type { PoolLimits } from './pool-plan.ts';
import { TenderPools } from './pools.ts';

const undo: (() => Promise<void>)[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (let stop = undo.pop(); stop !== undefined; stop = undo.pop()) await stop();
});

const LIMITS: PoolLimits = {
  tenderMemory: 1000,
  maxTenders: 10,
  maxTendersPerTask: 3,
  maxLoading: 2,
  idleMs: 10_000,
  forgetMs: 60_000,
  tenureMs: 0,
};

/** Pools of fake tenders of 100 bytes each; `waiting` stands for what waits in admission. */
function poolsOf(names: string[], limits: Partial<PoolLimits> = {}, createTender = async () => new FakeTender()) {
  const all = { ...LIMITS, ...limits };
  const waiting = new Map<string, number>();
  const troubles: KerbError[] = [];
  const made: FakeTender[] = [];
  const pools = new TenderPools(all, (name) => waiting.get(name) ?? 0);
  const byName = new Map<string, TenderPool>();
  for (const name of names) {
    const pool = new TenderPool({
      name,
      task: `${name} 1`,
      declaredBytes: 100,
      kept: true,
      maxTenders: all.maxTendersPerTask,
      idleMs: all.idleMs,
      createTender: async () => {
        const tender = await createTender();
        made.push(tender);
        return tender;
      },
      onWaiting: () => {},
      onTrouble: (error) => troubles.push(error),
      onChange: () => pools.plan(),
      log: silentLog(),
    });
    byName.set(name, pool);
    pools.add(pool);
  }
  undo.push(() => pools.stop());
  return { pools, made, troubles, waiting, pool: byName.get(names[0]!)!, byName };
}

const call = (pool: TenderPool, input: string | Uint8Array) =>
  new Promise<CallEnd>((resolve) => pool.call(Buffer.from(input), new Deadline(1000), resolve));
const slow = (ms: number) => Uint8Array.of(0x73, ms);

test('one waits, is busy for one call, and waits again', async () => {
  const { pools, pool } = poolsOf(['echo'], { maxTendersPerTask: 1 });
  expect(pool.state).toBe('Stopped');
  await pools.start();
  expect(pool.state).toBe('Waiting');
  const running = call(pool, 'e');
  expect(pool).toMatchObject({ state: 'Busy', canCall: false });
  expect(() => pool.call(Buffer.from('e'), new Deadline(1), () => {})).toThrow(/no tender of echo 1 waits/);
  expect(await running).toMatchObject({ outcome: { outcome: 'done' }, isolation: 'process' });
  expect(pool).toMatchObject({
    state: 'Waiting',
    use: { calls: 1, cpuMs: 0.05, peakMemory: 16_384 },
    restarts: 0,
    isolation: 'process',
  });
});

test('a death is told once, and a new tender waits a little later', async () => {
  const { pools, pool, made, troubles } = poolsOf(['echo']);
  await pools.start();
  expect((await call(pool, 'k')).error).toMatchObject({ code: ErrorCode.TenderDied });
  expect(pool.state).toBe('Dead');
  expect(pool.blocked(performance.now())).toMatchObject({
    code: ErrorCode.TenderUnavailable,
    retryAfterMs: expect.toSatisfy((ms: number) => ms > 0 && ms <= 50),
  });
  await vi.waitUntil(() => pool.state === 'Waiting');
  expect(troubles).toHaveLength(1);
  expect(made).toHaveLength(2);
  expect(pool).toMatchObject({ trouble: undefined, restarts: 1 });
  expect(pool.blocked(performance.now())).toBeUndefined();
});

test('one that dies again and again is started ever later; a served call makes up for it', async () => {
  const { pools, pool } = poolsOf(['echo']);
  await pools.start();
  const waits: number[] = [];
  for (let i = 0; i < 3; i++) {
    await call(pool, 'k');
    waits.push(pool.blocked(performance.now())!.retryAfterMs);
    await vi.waitUntil(() => pool.state === 'Waiting');
  }
  expect(waits[1]).toBeGreaterThan(waits[0]!);
  expect(waits[2]).toBeGreaterThan(waits[1]!);
  await call(pool, 'e');
  await call(pool, 'k');
  expect(pool.blocked(performance.now())!.retryAfterMs).toBeLessThanOrEqual(50);
});

test('one of several that dies costs its call only; the others go on', async () => {
  const { pools, pool, waiting, made } = poolsOf(['echo']);
  await pools.start();
  pool.note(3, performance.now());
  waiting.set('echo', 3);
  pools.planSoon();
  await vi.waitUntil(() => made.length === 3 && pool.tenders.every(({ state }) => state === 'Waiting'));
  waiting.set('echo', 0);
  const ends = await Promise.all([call(pool, slow(30)), call(pool, 'k'), call(pool, slow(30))]);
  expect(ends.map(({ outcome, error }) => outcome?.outcome ?? error?.code)).toEqual([
    'done',
    ErrorCode.TenderDied,
    'done',
  ]);
  expect(pool.state).toBe('Waiting');
});

test('after five deaths without a served call it is in quarantine, and proves itself with one tender afterwards', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  const { pools, pool, troubles, made, waiting } = poolsOf(['echo']);
  /** Fake time for the pool, and real time for the tenders. */
  const pass = async (ms: number) => {
    await vi.advanceTimersByTimeAsync(ms);
    await sleep(10);
  };
  await pools.start();
  for (let i = 0; i < 5; i++) {
    expect(pool.canCall).toBe(true);
    expect((await call(pool, 'k')).error?.code).toBe(ErrorCode.TenderDied);
    await pass(500);
  }
  expect(pool.state).toBe('Quarantined');
  expect(troubles.map(({ code }) => code)).toEqual([
    ...Array(4).fill(ErrorCode.TenderDied),
    ErrorCode.PackageQuarantined,
  ]);
  expect(pool.trouble).toMatch(/^echo 1 is in quarantine for 10 s, because .* the last one: a tender of echo 1 died: /);
  expect(pool.blocked(performance.now())).toMatchObject({ code: ErrorCode.PackageQuarantined });
  expect(made).toHaveLength(5);

  waiting.set('echo', 5);
  pool.note(5, performance.now());
  await pass(9_600);
  expect(made).toHaveLength(6);
  expect(pool.tenders).toHaveLength(1);
  expect(pool.blocked(performance.now())).toBeUndefined();
  expect((await call(pool, 'e')).outcome).toMatchObject({ outcome: 'done' });
  pools.plan();
  await pass(0);
  expect(pool.tenders).toHaveLength(3);
});

test.each([ErrorCode.ImageRefused, ErrorCode.TaskPackageDigestMismatch, ErrorCode.WrongArchitecture])(
  'an image that cannot be used is given up (%d)',
  async (code) => {
    const { pools, pool, made } = poolsOf(['echo'], {}, async () => {
      throw new KerbError(code, 'not this one');
    });
    await pools.start();
    expect(pool).toMatchObject({ state: 'Dead', refused: true, trouble: 'not this one' });
    expect(pool.blocked(performance.now())).toMatchObject({ retryAfterMs: Number.POSITIVE_INFINITY });
    expect(made).toHaveLength(0);
  },
);

test('stopped while a tender starts, or while it waits to start one: none is left', async () => {
  const starting = new FakeTender();
  let finish = () => {};
  starting.start = () => new Promise((resolve) => (finish = resolve));
  const first = poolsOf(['echo'], {}, async () => starting);
  const started = first.pools.start();
  await vi.waitUntil(() => first.made.length === 1);
  await first.pools.stop();
  finish();
  await started;
  expect(starting.state).toBe('Stopped');
  expect(first.pool.state).toBe('Stopped');

  const second = poolsOf(['echo']);
  await second.pools.start();
  await call(second.pool, 'k');
  await second.pools.stop();
  await sleep(120);
  expect(second.made).toHaveLength(1);
});

test('grows with what waits and shrinks when that is over', async () => {
  const { pools, pool, waiting, made } = poolsOf(['echo'], { idleMs: 60 });
  await pools.start();
  expect(pool.tenders).toHaveLength(1);
  waiting.set('echo', 8);
  expect(pool.note(8, performance.now())).toBe(true);
  pools.planSoon();
  await vi.waitUntil(() => pool.tenders.filter(({ state }) => state === 'Waiting').length === 3);
  expect(pool.note(8, performance.now())).toBe(false);
  waiting.set('echo', 0);
  await vi.waitUntil(() => pool.tenders.length === 1);
  expect(made.filter(({ state }) => state === 'Stopped')).toHaveLength(2);
  expect(pool.canCall).toBe(true);
});

test('without room, the one that was used least lately goes, and the start counts as start, not as queue', async () => {
  const { pools, byName, waiting } = poolsOf(['a', 'b', 'c'], { tenderMemory: 200 });
  await pools.start();
  const [a, b, c] = ['a', 'b', 'c'].map((name) => byName.get(name)!);
  expect([a!.state, b!.state, c!.state]).toEqual(['Waiting', 'Waiting', 'Stopped']);
  await call(b!, 'e');
  await call(a!, 'e');
  waiting.set('c', 1);
  const arrived = performance.now();
  c!.note(1, arrived);
  pools.planSoon();
  await vi.waitUntil(() => c!.canCall);
  expect([a!.state, b!.state]).toEqual(['Waiting', 'Stopped']);
  const taken = performance.now();
  expect(c!.coldMs(arrived, taken)).toBeGreaterThan(0);
  expect(c!.coldMs(arrived, taken)).toBeLessThanOrEqual(taken - arrived);
  expect(c!.coldMs(taken, taken + 5)).toBe(0);
  expect(pools.pools.flatMap(({ tenders }) => tenders).map(({ bytes }) => bytes)).toEqual([100, 100]);
});

test('when all are busy, one is let go as soon as its call ends', async () => {
  const { pools, byName, waiting, made } = poolsOf(['a', 'b'], { maxTenders: 1 });
  await pools.start();
  const [a, b] = [byName.get('a')!, byName.get('b')!];
  const running = call(a, slow(40));
  waiting.set('b', 1);
  b.note(1, performance.now());
  await sleep(5);
  pools.planSoon();
  expect(a.tenders.map(({ state }) => state)).toEqual(['Retiring']);
  expect((await running).outcome).toMatchObject({ outcome: 'done' });
  await vi.waitUntil(() => b.canCall);
  expect(made[0]!.state).toBe('Stopped');
  expect(a.tenders).toEqual([]);
});

test('a removed pool ends what waits at once and what is busy after its call, and starts nothing again', async () => {
  const { pools, pool, made, waiting } = poolsOf(['echo', 'other']);
  await pools.start();
  const running = call(pool, slow(50));
  await pool.start();
  pools.remove('echo');
  pools.remove('never there');
  expect(pools.pools.map(({ name }) => name)).toEqual(['other']);
  expect(pool.canCall).toBe(false);
  waiting.set('echo', 5);
  pools.plan();
  expect((await running).outcome).toMatchObject({ outcome: 'done' });
  await vi.waitFor(() => expect(pool.tenders).toEqual([]));
  expect(made.filter(({ state }) => state === 'Waiting')).toHaveLength(1);
});

test('a removed pool whose last call still runs is ended with the others', async () => {
  const { pools, pool, made } = poolsOf(['echo']);
  await pools.start();
  const running = call(pool, slow(200));
  pools.remove('echo');
  await pools.stop();
  expect(made[0]!.state).toBe('Stopped');
  await running;
});

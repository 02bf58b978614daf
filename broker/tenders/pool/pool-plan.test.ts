import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../shared/base/random.ts';
import { rounds } from '../../../test/support/rounds.ts';
import { type PoolLimits, type PoolStep, type PoolView, planPools, type TenderView } from './pool-plan.ts';

const LIMITS: PoolLimits = {
  tenderMemory: 1000,
  maxTenders: 100,
  maxTendersPerTask: 3,
  maxLoading: 100,
  idleMs: 10_000,
  forgetMs: 60_000,
  tenureMs: 50,
};
const NOW = 1_000_000;
const LONG_AGO = NOW - 1e5;

function pool(name: string, change: Partial<PoolView> = {}): PoolView {
  return {
    name,
    queued: 0,
    demand: 0,
    demandUntil: NOW + 5000,
    usedAt: Number.NEGATIVE_INFINITY,
    emptySince: Number.NEGATIVE_INFINITY,
    kept: true,
    startAt: Number.NEGATIVE_INFINITY,
    maxTenders: 3,
    bytesEach: 10,
    tenders: [],
    ...change,
  };
}
let nextId = 1;
function tender(state: TenderView['state'], change: Partial<TenderView> = {}): TenderView {
  return { id: nextId++, state, bytes: 10, startedAt: LONG_AGO, freeSince: LONG_AGO, ...change };
}
const brief = (steps: readonly PoolStep[]) =>
  steps.map((step) => (step.step === 'start' ? `start ${step.pool}` : `let-go ${step.pool} ${step.tender}`));
const stepsOf = (pools: PoolView[], limits: Partial<PoolLimits> = {}) =>
  brief(planPools(pools, { ...LIMITS, ...limits }, NOW).steps);

describe('how many', () => {
  test('one ahead of need for each kept package, none for others, as far as there is room', () => {
    expect(stepsOf([pool('a'), pool('b', { kept: false }), pool('c')])).toEqual(['start a', 'start c']);
    expect(stepsOf([pool('a'), pool('b'), pool('c')], { maxTenders: 2 })).toEqual(['start a', 'start b']);
    const sizes = [pool('a', { bytesEach: 900 }), pool('b', { bytesEach: 200 }), pool('c')];
    expect(stepsOf(sizes)).toEqual(['start a', 'start c']);
    expect(stepsOf([pool('a'), pool('b'), pool('c')], { maxLoading: 2 })).toEqual(['start a', 'start b']);
  });

  test('as many as offloads at the same time, up to the limit', () => {
    const busy = { queued: 1, demand: 2, usedAt: NOW, tenders: [tender('Busy')] };
    expect(stepsOf([pool('a', busy)])).toEqual(['start a']);
    expect(stepsOf([pool('a', { ...busy, queued: 50, demand: 51 })])).toEqual(['start a', 'start a']);
    expect(stepsOf([pool('a', { ...busy, queued: 50, demand: 51, maxTenders: 1 })])).toEqual([]);
  });

  test('a lost one is replaced while it would be needed again, as far as there is room', () => {
    const lately = { demand: 3, usedAt: NOW, tenders: [tender('Busy')] };
    expect(stepsOf([pool('a', lately), pool('b')])).toEqual(['start b', 'start a', 'start a']);
    expect(stepsOf([pool('a', lately), pool('b')], { maxTenders: 2 })).toEqual(['start b']);
  });

  test('those that load count: the same need starts no second one', () => {
    expect(stepsOf([pool('a', { queued: 1, demand: 1, tenders: [tender('Loading')] })])).toEqual([]);
  });

  test('more than needed: the least recently used is let go, a busy one is left alone', () => {
    const [older, newer] = [tender('Waiting', { freeSince: 5 }), tender('Waiting', { freeSince: 9 })];
    expect(stepsOf([pool('a', { demand: 1, tenders: [newer, older] })])).toEqual([`let-go a ${older.id}`]);
    const plan = planPools([pool('a', { demand: 1, tenders: [tender('Busy'), tender('Busy')] })], LIMITS, NOW);
    expect(plan).toEqual({ steps: [], wakeAt: NOW + LIMITS.idleMs });
  });

  test('the last one of a package that is not kept goes when it has not been used for long', () => {
    const tenders = [tender('Waiting', { id: 7 })];
    const recent = planPools([pool('a', { kept: false, usedAt: NOW - 59_000, tenders })], LIMITS, NOW);
    expect(recent).toEqual({ steps: [], wakeAt: NOW + 1000 });
    expect(stepsOf([pool('a', { kept: false, usedAt: NOW - 60_000, tenders })])).toEqual(['let-go a 7']);
    expect(stepsOf([pool('a', { usedAt: NOW - 60_000, tenders })])).toEqual([]);
  });

  test('nothing is started before its time, and that is when to plan again', () => {
    const plan = planPools([pool('a', { queued: 3, demand: 3, startAt: NOW + 400 })], LIMITS, NOW);
    expect(plan).toEqual({ steps: [], wakeAt: NOW + 400 });
    expect(planPools([pool('a', { startAt: Number.POSITIVE_INFINITY })], LIMITS, NOW)).toEqual({
      steps: [],
      wakeAt: Number.POSITIVE_INFINITY,
    });
  });
});

describe('when there is no room', () => {
  const starving = pool('hungry', { queued: 1, demand: 1, usedAt: NOW });

  test('the least recently used idle tender of another package makes it, and the start follows when it has left', () => {
    const [a, b] = [tender('Waiting', { freeSince: 9 }), tender('Waiting', { freeSince: 5 })];
    const others = [pool('a', { tenders: [a] }), pool('b', { tenders: [b] })];
    expect(stepsOf([...others, starving], { maxTenders: 2 })).toEqual([`let-go b ${b.id}`]);
    const leaving = [others[0]!, pool('b', { tenders: [{ ...b, state: 'Leaving' }] }), starving];
    expect(stepsOf(leaving, { maxTenders: 2 })).toEqual([]);
    expect(stepsOf([others[0]!, pool('b'), starving], { maxTenders: 2 })).toEqual(['start hungry']);
  });

  test('as many are let go as it takes, and no more', () => {
    const tenders = [1, 2, 3].map((freeSince) => tender('Waiting', { freeSince, bytes: 300 }));
    const others = tenders.map((one, i) => pool(`p${i}`, { tenders: [one], bytesEach: 300 }));
    expect(stepsOf([...others, { ...starving, bytesEach: 500 }])).toEqual([
      `let-go p0 ${tenders[0]!.id}`,
      `let-go p1 ${tenders[1]!.id}`,
    ]);
  });

  test('when all are busy, a package that has most gives one up after its call, but not before it has been of use', () => {
    const [old, older] = [tender('Busy', { startedAt: NOW - 60 }), tender('Busy', { startedAt: NOW - 80 })];
    const single = pool('b', { queued: 9, demand: 9, tenders: [tender('Busy', { startedAt: NOW - 900 })] });
    const most = pool('a', { queued: 9, demand: 9, tenders: [old, older] });
    expect(stepsOf([single, most, starving], { maxTenders: 3 })).toEqual([`let-go a ${older.id}`]);
    const young = pool('a', { queued: 9, demand: 9, tenders: [tender('Busy', { startedAt: NOW - 20 })] });
    expect(planPools([young, starving], { ...LIMITS, maxTenders: 1 }, NOW)).toEqual({ steps: [], wakeAt: NOW + 30 });
  });

  test('among those that starve, the one without a tender for longest comes first', () => {
    const pools = [
      pool('late', { queued: 1, demand: 1, emptySince: 20 }),
      pool('early', { queued: 1, demand: 1, emptySince: 10 }),
    ];
    expect(stepsOf(pools, { maxTenders: 1 })).toEqual(['start early']);
  });

  test('growing takes the room of what nobody used lately, and only that', () => {
    const grower = pool('a', { queued: 4, demand: 5, usedAt: NOW, tenders: [tender('Busy')] });
    const [unused, used] = [tender('Waiting'), tender('Waiting', { freeSince: NOW - 100 })];
    const others = [pool('b', { tenders: [unused] }), pool('c', { tenders: [used] })];
    expect(stepsOf([grower, ...others], { maxTenders: 3 })).toEqual([`let-go b ${unused.id}`]);
  });

  test('one tender may be there even when it is larger than all the memory', () => {
    expect(stepsOf([{ ...starving, bytesEach: 5000 }])).toEqual(['start hungry']);
    expect(stepsOf([pool('a', { tenders: [tender('Waiting', { bytes: 5000 })] })])).toEqual([]);
  });

  test('tenders that turn out larger than thought make the least recently used go', () => {
    const [a, b] = [tender('Waiting', { bytes: 600, freeSince: 1 }), tender('Waiting', { bytes: 600, freeSince: 2 })];
    expect(stepsOf([pool('a', { tenders: [a] }), pool('b', { tenders: [b] })])).toEqual([`let-go a ${a.id}`]);
  });
});

/** Carries plans out as `TenderPools` does, with calls, loading and leaving that take simulated time. */
class Simulation {
  now = NOW;
  readonly pools: PoolView[];
  readonly limits: PoolLimits;
  readonly random: () => number;
  #events: { at: number; act: () => void }[] = [];
  readonly hungrySince = new Map<string, number>();
  longestHunger = 0;
  served = 0;

  constructor(pools: PoolView[], limits: PoolLimits, random: () => number) {
    this.pools = pools;
    this.limits = limits;
    this.random = random;
  }

  change(name: string, by: (pool: PoolView) => Partial<PoolView>): void {
    const at = this.pools.findIndex((one) => one.name === name);
    this.pools[at] = { ...this.pools[at]!, ...by(this.pools[at]!) };
  }
  changeTender(name: string, id: number, by: Partial<TenderView> | undefined): void {
    this.change(name, ({ tenders }) => {
      const left = by === undefined ? tenders.filter((one) => one.id !== id) : tenders;
      return {
        tenders: left.map((one) => (one.id === id ? { ...one, ...by } : one)),
        ...(left.length === 0 ? { emptySince: this.now } : {}),
      };
    });
  }
  after(ms: number, act: () => void): void {
    this.#events.push({ at: this.now + ms, act });
  }

  arrive(name: string): void {
    this.change(name, ({ queued, demand, tenders }) => {
      const atOnce = queued + 1 + tenders.filter(({ state }) => state === 'Busy').length;
      return { queued: queued + 1, demand: Math.max(demand, atOnce), usedAt: this.now };
    });
    this.pump();
  }

  pump(): void {
    for (const { name, tenders } of this.pools) {
      for (const { id, state } of tenders) {
        const { queued } = this.pools.find((one) => one.name === name)!;
        if (state !== 'Waiting' || queued === 0) continue;
        this.change(name, () => ({ queued: queued - 1 }));
        this.changeTender(name, id, { state: 'Busy' });
        this.served++;
        this.after(1 + this.random() * 20, () => {
          const busy = this.pools.find((one) => one.name === name)!.tenders.find((one) => one.id === id)!;
          if (busy.state === 'Retiring') this.leave(name, id);
          else this.changeTender(name, id, { state: 'Waiting', freeSince: this.now });
        });
      }
    }
  }
  leave(name: string, id: number): void {
    this.changeTender(name, id, { state: 'Leaving' });
    this.after(2, () => this.changeTender(name, id, undefined));
  }

  plan(): void {
    const { steps } = planPools(this.pools, this.limits, this.now);
    for (const step of steps) {
      if (step.step === 'start') {
        const id = nextId++;
        this.change(step.pool, ({ tenders, bytesEach }) => ({
          tenders: [
            ...tenders,
            { id, state: 'Loading', bytes: bytesEach, startedAt: this.now, freeSince: this.now } satisfies TenderView,
          ],
        }));
        this.after(5, () => this.changeTender(step.pool, id, { state: 'Waiting', freeSince: this.now }));
        continue;
      }
      const found = this.pools.find(({ name }) => name === step.pool)?.tenders.find(({ id }) => id === step.tender);
      expect(['Waiting', 'Busy']).toContain(found?.state);
      if (found?.state === 'Busy') this.changeTender(step.pool, found.id, { state: 'Retiring' });
      else this.leave(step.pool, step.tender);
    }
    this.check();
    // The same again at once: everything that was to be done has been asked for.
    expect(planPools(this.pools, this.limits, this.now).steps).toEqual([]);
  }

  check(): void {
    const all = this.pools.flatMap(({ tenders }) => tenders);
    expect(all.length).toBeLessThanOrEqual(this.limits.maxTenders);
    expect(all.filter(({ state }) => state === 'Loading').length).toBeLessThanOrEqual(this.limits.maxLoading);
    const bytes = all.reduce((sum, one) => sum + one.bytes, 0);
    if (all.length > 1) expect(bytes).toBeLessThanOrEqual(this.limits.tenderMemory);
    for (const { name, queued, tenders } of this.pools) {
      const staying = tenders.filter(({ state }) => state !== 'Leaving' && state !== 'Retiring');
      expect(staying.length).toBeLessThanOrEqual(this.limits.maxTendersPerTask);
      if (queued > 0 && staying.length === 0) {
        const since = this.hungrySince.get(name) ?? this.now;
        this.hungrySince.set(name, since);
        this.longestHunger = Math.max(this.longestHunger, this.now - since);
      } else this.hungrySince.delete(name);
    }
  }

  step(): void {
    this.now += 1;
    const due = this.#events.filter(({ at }) => at <= this.now);
    this.#events = this.#events.filter(({ at }) => at > this.now);
    for (const { act } of due) {
      act();
      this.plan();
      this.pump();
    }
    this.plan();
    this.pump();
  }
}

test('with any load and any limits: the limits hold, nobody starves, and the same plan twice asks for nothing', () => {
  for (let seed = 1; seed <= rounds(12, 40); seed++) {
    const random = seededRandom(seed);
    const count = 1 + Math.floor(random() * 6);
    const pools = Array.from({ length: count }, (_, i) =>
      pool(`p${i}`, { kept: random() < 0.5, bytesEach: 50 + Math.floor(random() * 400) }),
    );
    const limits = {
      ...LIMITS,
      maxTenders: 1 + Math.floor(random() * 8),
      maxLoading: 1 + Math.floor(random() * 3),
      tenderMemory: 450 + Math.floor(random() * 1500),
    };
    const simulation = new Simulation(pools, limits, random);
    for (let ms = 0; ms < 1500; ms++) {
      // The first ones are flooded, the others are asked now and then.
      for (let i = 0; i < count; i++) if (random() < (i === 0 ? 0.9 : 0.05)) simulation.arrive(`p${i}`);
      simulation.step();
    }
    expect(simulation.served, `seed ${seed}`).toBeGreaterThan(20);
    // Each other package may have its time of use, its longest call, its leaving and its loading before; a large one may
    // need the room of two small ones.
    expect(simulation.longestHunger, `seed ${seed}`).toBeLessThan(2 * count * (LIMITS.tenureMs + 21 + 2 + 5 + 4));
  }
});

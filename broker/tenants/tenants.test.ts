import { afterEach, describe, expect, it, vi } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { DEFAULT_LIMITS } from '../config.ts';
import { builtInPolicy } from './built-in.ts';
import { parsePolicy } from './parse-policy.ts';
import type { Policy, RuledOffload } from './policy.ts';
import { Tenants } from './tenants.ts';

const others = builtInPolicy({ limits: DEFAULT_LIMITS }).others;
const policyOf = (text: string): Policy => parsePolicy(text, 'policy.yaml', others);
const offload = (tenant: string, more: { bytes?: number; budgetMs?: number } = {}): RuledOffload => ({
  tenant,
  input: { length: more.bytes ?? 10 },
  deadline: { originalMs: more.budgetMs ?? 100 },
});

afterEach(() => {
  vi.useRealTimers();
});

describe('quotas of offloads', () => {
  it('bound what a tenant has waiting and running, by number and by bytes, and nobody else', () => {
    const tenants = new Tenants(policyOf('tenants: { A: { offloads: 2, bytes: 100 } }'));
    const [one, two] = [offload('A', { bytes: 60 }), offload('A', { bytes: 30 })];
    expect(tenants.check(one, 0, 0)).toBeUndefined();
    tenants.taken(one);
    expect(tenants.check(offload('A', { bytes: 41 }), 0, 0)).toMatchObject({
      code: ErrorCode.QuotaSpent,
      quota: 'bytes',
      message: expect.stringMatching(/A has 60 bytes .* may have 100; 41 more/),
    });
    expect(tenants.check(two, 0, 0)).toBeUndefined();
    tenants.taken(two);
    const refused = tenants.check(offload('A'), 0, 0);
    expect(refused).toMatchObject({ code: ErrorCode.QuotaSpent, quota: 'offloads' });
    expect(refused!.message).toMatch(/A has 2 offloads .* may have 2/);
    expect(refused!.retryAfterMs).toBeGreaterThanOrEqual(1);
    expect(tenants.check(offload('B'), 0, 0)).toBeUndefined();

    tenants.left(one, 20);
    expect(tenants.check(offload('A', { bytes: 70 }), 0, 20)).toBeUndefined();
    expect(tenants.check(offload('A', { bytes: 71 }), 0, 20)).toMatchObject({ quota: 'bytes' });
  });

  it('refuse for good what can never be: a larger budget, more memory, more input', () => {
    const tenants = new Tenants(policyOf('default: { largestBudget: 1s, memory: 1m, bytes: 1k }'));
    const cases = [
      [offload('A', { budgetMs: 1001 }), 0, 'largestBudget', /1 s/],
      [offload('A'), 2 ** 20 + 1, 'memory', /1048577 .* 1048576/],
      [offload('A', { bytes: 1025 }), 0, 'bytes', /1025 .* 1024/],
    ] as const;
    for (const [one, memory, quota, message] of cases) {
      const refused = tenants.check(one, memory, 0);
      expect(refused).toMatchObject({ code: ErrorCode.QuotaSpent, quota, retryAfterMs: 0 });
      expect(refused!.message).toMatch(message);
    }
    expect(tenants.check(offload('A', { budgetMs: 1000, bytes: 1024 }), 2 ** 20, 0)).toBeUndefined();
  });

  it('leave a tender of each task to others, and end an endless loop in a minute, without a policy', () => {
    const tenants = new Tenants(builtInPolicy({ limits: { ...DEFAULT_LIMITS, maxTendersPerTask: 4 } }));
    for (let i = 0; i < 3; i++) {
      expect(tenants.mayBegin('A', 1, 0)).toBe(true);
      tenants.begun('A', 1, 0);
    }
    expect(tenants.mayBegin('A', 1, 0)).toBe(false);
    expect(tenants.mayBegin('B', 1, 0)).toBe(true);
    // A caller of version 1 may ask for an hour; its run gets no more than a minute.
    expect(tenants.check(offload('A', { budgetMs: 3_600_000 }), 0, 0)?.quota).not.toBe('largestBudget');
    const run = tenants.begun('B', 1, 0);
    expect(run.longestMs).toBe(60_000);
    expect(tenants.endedEarly(run)).toMatchObject({ code: ErrorCode.QuotaSpent, quota: 'largestBudget' });
    const single = new Tenants(builtInPolicy({ limits: { ...DEFAULT_LIMITS, maxTendersPerTask: 1 } }));
    expect(single.mayBegin('A', 1, 0)).toBe(true);
  });
});

describe('quotas of what runs', () => {
  it('hold an offload back until one has ended, and say when', () => {
    const more: string[] = [];
    const tenants = new Tenants(policyOf('default: { running: 1 }'), (tenant) => more.push(tenant));
    const run = tenants.begun('A', 5, 0);
    tenants.ended(run, 1, 1);
    expect(more).toEqual([]);
    const next = tenants.begun('A', 5, 1);
    expect(tenants.mayBegin('A', 5, 1)).toBe(false);
    tenants.ended(next, 1, 2);
    expect(more).toEqual(['A']);
    expect(tenants.mayBegin('A', 5, 2)).toBe(true);
  });

  it('count memory of all that runs; one alone may always run', () => {
    const tenants = new Tenants(policyOf('default: { memory: 100b, running: 10 }'));
    expect(tenants.mayBegin('A', 100, 0)).toBe(true);
    const run = tenants.begun('A', 60, 0);
    expect(tenants.mayBegin('A', 41, 0)).toBe(false);
    expect(tenants.mayBegin('A', 40, 0)).toBe(true);
    tenants.ended(run, 1, 1);
    expect(tenants.mayBegin('A', 100, 1)).toBe(true);
  });

  it('a tighter policy counts what runs already, and a wider one lets go what was held', () => {
    const more: string[] = [];
    const tenants = new Tenants(policyOf('default: { running: 4 }'), (tenant) => more.push(tenant));
    const runs = [tenants.begun('A', 1, 0), tenants.begun('A', 1, 0)];
    tenants.replace(policyOf('default: { running: 1 }'));
    expect(tenants.mayBegin('A', 1, 0)).toBe(false);
    tenants.replace(policyOf('default: { running: 3 }'));
    expect(more).toEqual(['A']);
    expect(tenants.mayBegin('A', 1, 0)).toBe(true);
    for (const run of runs) tenants.ended(run, 0, 1);
    expect(tenants.mayBegin('A', 1, 1)).toBe(true);
  });
});

describe('computing time', () => {
  const text = 'default: { running: 9, cpu: { perMinute: 6s, burst: 2s } }';

  it('is charged as it was measured, refuses when it is spent, and says when there is some again', () => {
    const tenants = new Tenants(policyOf(text));
    tenants.ended(tenants.begun('A', 1, 0), 1500, 1500);
    expect(tenants.check(offload('A'), 0, 1500)).toBeUndefined();
    tenants.ended(tenants.begun('A', 1, 1500), 1500, 3000);
    // 3 s used, 0.15 s given back in between.
    const refused = tenants.check(offload('A'), 0, 3000);
    expect(refused).toMatchObject({ code: ErrorCode.QuotaSpent, quota: 'cpu' });
    expect(refused!.message).toContain('6 s a minute');
    expect(refused!.retryAfterMs).toBeGreaterThan(8500);
    expect(tenants.check(offload('B'), 0, 3000)).toBeUndefined();
    const then = 3000 + refused!.retryAfterMs;
    expect(tenants.check(offload('A'), 0, then)).toBeUndefined();
    expect(tenants.mayBegin('A', 1, then)).toBe(true);
  });

  it('is charged by the clock when a tender died, so that dying is not free', () => {
    const tenants = new Tenants(policyOf(text));
    tenants.ended(tenants.begun('A', 1, 0), undefined, 2500);
    expect(tenants.check(offload('A'), 0, 2500)).toMatchObject({ quota: 'cpu' });
  });

  it('lets one run bring it one burst below zero and no further', () => {
    const tenants = new Tenants(policyOf(text));
    expect(tenants.begun('A', 1, 0).longestMs).toBe(4000);
    const run = tenants.begun('A', 1, 0);
    tenants.ended(run, 1900, 0);
    expect(tenants.begun('A', 1, 0).longestMs).toBe(2100);
    expect(tenants.endedEarly(run)).toMatchObject({
      code: ErrorCode.QuotaSpent,
      quota: 'cpu',
      message: expect.stringContaining('ended after 4 s'),
    });
    expect(new Tenants(policyOf('{}')).begun('A', 1, 0).longestMs).toBe(60_000);
  });

  it('holds back what was taken before it was spent, and lets it go when there is some again', () => {
    vi.useFakeTimers();
    const more: string[] = [];
    const tenants = new Tenants(policyOf(text), (tenant) => more.push(tenant));
    const now = performance.now();
    tenants.ended(tenants.begun('A', 1, now), 2100, now);
    expect(tenants.mayBegin('A', 1, now)).toBe(false);
    vi.advanceTimersByTime(900);
    expect(more).toEqual([]);
    vi.advanceTimersByTime(60_000);
    expect(more).toEqual(['A']);
    expect(tenants.mayBegin('A', 1, performance.now())).toBe(true);
    tenants.stop();
  });

  it('is not forgiven by another policy, nor used up by one without a limit', () => {
    const tenants = new Tenants(policyOf(text));
    tenants.ended(tenants.begun('A', 1, 0), 3000, 0);
    tenants.replace(policyOf('default: { cpu: { perMinute: 6s, burst: 4s } }'));
    expect(tenants.check(offload('A'), 0, 0)).toBeUndefined();
    tenants.replace(policyOf(text));
    expect(tenants.check(offload('A'), 0, 0)).toMatchObject({ quota: 'cpu' });
    tenants.replace(policyOf('{}'));
    expect(tenants.check(offload('A'), 0, 0)).toBeUndefined();
  });
});

describe('what is kept of tenants', () => {
  it('is bounded: those with nothing open go when many others come', () => {
    const tenants = new Tenants(policyOf('default: { cpu: { perMinute: 6s } }'));
    const open = offload('open');
    tenants.taken(open);
    tenants.ended(tenants.begun('debtor', 1, 0), 3_600_000, performance.now());
    for (let i = 0; i < 20_000; i++) {
      const one = offload(`t${i}`);
      tenants.taken(one);
      tenants.left(one, i);
    }
    expect(tenants.size).toBeLessThanOrEqual(2048);
    expect(tenants.check(offload('debtor'), 0, performance.now())).toMatchObject({ quota: 'cpu' });
    tenants.replace(policyOf('default: { offloads: 1 }'));
    expect(tenants.check(offload('open'), 0, 0)).toMatchObject({ quota: 'offloads' });
  });
});

describe('who is served, sees and runs', () => {
  const policy = policyOf(`
others: refuse
tenants:
  Acme: { shares: { see: [Viewer], run: ["Friend-*"] }, highestClass: high, isolation: vm }
  Viewer: {}
  Friend-1: { highestClass: idle }
`);
  const tenants = new Tenants(policy);

  it('a tenant that is not listed is served only when others are', () => {
    expect(tenants.refusalOf({ tenant: 'Acme' })).toBeUndefined();
    expect(tenants.refusalOf({ tenant: 'Nobody' })).toMatchObject({
      code: ErrorCode.Unauthenticated,
      message: expect.stringContaining('Nobody'),
    });
    expect(new Tenants(policyOf('{}')).refusalOf({ tenant: 'Nobody' })).toBeUndefined();
  });

  it.each([
    ['Acme', ['Acme'], true, true],
    ['Viewer', ['Acme'], true, false],
    ['Friend-1', ['Acme'], true, true],
    ['Friend', ['Acme'], false, false],
    ['Acme', ['Viewer'], false, false],
    ['Friend-9', ['Viewer', 'Acme'], true, true],
    ['Nobody', undefined, true, true],
    ['Nobody', [], false, false],
  ])('%s of a package by %s: sees %s, runs %s', (tenant, owners, sees, runs) => {
    expect(tenants.maySee(tenant, owners)).toBe(sees);
    expect(tenants.mayRun(tenant, owners)).toBe(runs);
  });

  it('a class is capped and vm demanded as the policy says; what fits stays the same object', () => {
    const terms = { tenant: 'Acme', serviceClass: 'safety', isolation: 'any' } as const;
    expect(tenants.bounded(terms)).toEqual({ tenant: 'Acme', serviceClass: 'high', isolation: 'vm' });
    const fits = { tenant: 'Friend-1', serviceClass: 'idle', isolation: 'vm' } as const;
    expect(tenants.bounded(fits)).toBe(fits);
    expect(tenants.weightOf('Acme')).toBe(1);
    expect(tenants.policyOf('Acme').highestClass).toBe('high');
    expect(tenants.limitsOf({ tenant: 'Acme' })).toMatchObject({ connectionsPerVehicle: 16, bytesInFlight: 64 << 20 });
    expect(tenants.resultLimits('Acme')).toEqual({ count: 5000, bytes: 32 << 20, keepMs: 3_600_000 });
  });
});

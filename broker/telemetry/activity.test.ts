import { expect, test, vi } from 'vitest';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { refusal } from '../../shared/base/refusal.ts';
import type { IncomingOffload } from '../offloads/offload.ts';
import { Activity } from './activity.ts';
import { BrokerEvents } from './broker-events.ts';
import { isMiss } from './tenant-records.ts';

function offload(id: string, tenant = 'ACME', budgetMs = 1000): IncomingOffload {
  return {
    ...{
      id,
      tenant,
      vehicle: 'car-1',
      taskDigest: 'sha256:0',
      priority: 500,
      serviceClass: 'normal',
      isolation: 'any',
    },
    ...{ input: Buffer.from('abc'), deadline: new Deadline(budgetMs), keepMs: 0, durable: false, dwellMs: 0 },
    ...{ wantReceipt: false, traceparent: '' },
  };
}
const client = (id: string, tenant: string) => ({ kind: 'vehicle', id, tenant, expiresAt: 0, version: 2 }) as const;
const result = {
  ...{ output: Buffer.alloc(0), queueMs: 0, startMs: 0, runMs: 1, cpuMs: 1, peakMemory: 1, isolation: 'vm' },
};

function activity() {
  const onAnswer = vi.fn();
  return { onAnswer, all: new Activity({ taskOf: () => undefined, onAnswer, hashInputs: false }) };
}

test('callers of one offload are one, and each answer is told', async () => {
  const { all, onAnswer } = activity();
  const got = vi.fn();
  const answers = [all.follow(offload('a'), got), all.follow(offload('a'), got)];
  all.started(offload('a'));
  all.started(offload('unknown'));
  expect(all.counts()).toEqual({ waiting: 0, running: 1 });
  expect(all.offloads(10, {}).offloads).toMatchObject([{ id: 'a', task: 'unknown', callers: 2, state: 'running' }]);
  const idle = vi.fn();
  const waited = all.whenIdle(new AbortController().signal).then(idle);
  answers[0]!(result, undefined);
  await Promise.resolve();
  expect([all.idle, idle.mock.calls.length]).toEqual([false, 0]);
  answers[1]!(result, undefined);
  await waited;
  expect(all.idle).toBe(true);
  expect([got.mock.calls.length, onAnswer.mock.calls.length]).toEqual([2, 2]);
});

test('waiting for the end is given up when it is asked for', async () => {
  const { all } = activity();
  all.follow(offload('a'), () => {});
  const stop = new AbortController();
  const waited = all.whenIdle(stop.signal);
  stop.abort();
  await waited;
  await all.whenIdle(stop.signal);
  expect(all.idle).toBe(false);
});

test('connections of a vehicle are counted, and it goes with the last of them', () => {
  const { all } = activity();
  const gone = [all.connected(client('car-1', 'ACME')), all.connected(client('car-1', 'ACME'))];
  all.connected(client('car-1', 'Other'));
  expect(all.vehicles(10, 'ACME')).toMatchObject({ total: 1, vehicles: [{ vehicle: 'car-1', connections: 2 }] });
  expect(all.vehicles(1, undefined)).toMatchObject({ total: 2, vehicles: [{}] });
  gone[0]!();
  expect(all.vehicles(10, 'ACME').total).toBe(1);
  gone[1]!();
  expect(all.vehicles(10, 'ACME').total).toBe(0);
  expect(all.tenants.connections).toBe(1);
});

test('tenants that come and go are bounded; those that are connected stay', () => {
  const { all } = activity();
  all.connected(client('car-1', 'stays'));
  for (let i = 0; i < 2000; i++) all.connected(client('car', `tenant-${i}`))();
  const names = all.tenants.list().map(({ tenant }) => tenant);
  expect(names).toHaveLength(256);
  expect(names).toContain('stays');
  expect(names).toContain('tenant-1999');
});

test('a budget that ran out here is a miss, and so is a late result; a refusal at once is none', () => {
  const { all } = activity();
  const end = (budgetMs: number, code?: number) => {
    const why = code === undefined ? undefined : refusal(code as ErrorCode, 'x');
    all.follow(offload('a', 'ACME', budgetMs), () => {})(why === undefined ? result : undefined, why);
    return all.tenants.list()[0]!.misses;
  };
  expect(end(10_000)).toBe(0);
  expect(end(10_000, ErrorCode.DeadlineUnreachable)).toBe(0);
  expect(end(10_000, ErrorCode.BudgetSpentInQueue)).toBe(1);
  expect(end(10_000, ErrorCode.GuestDeadline)).toBe(2);
  expect(end(-1)).toBe(3);
  expect(all.tenants.list()[0]).toMatchObject({ ok: 2, failed: 2, refused: 1 });
  expect(isMiss({ deadline: new Deadline(1000) } as never, undefined, refusal(ErrorCode.QueueFull, 'x'))).toBe(false);
});

test('a flood of refusals or errors makes one event in a second and subject', () => {
  let now = 0;
  const events = new BrokerEvents(() => now);
  for (let i = 0; i < 1000; i++) {
    events.refused('ACME', 'car-1', refusal(ErrorCode.QueueFull, `full ${i}`));
    events.error('vehicle car-1', ErrorCode.Unauthenticated, `no ${i}`);
  }
  events.refused('ACME', 'car-1', refusal(ErrorCode.UnknownPackage, 'none'));
  events.refused('Other', 'car-2', refusal(ErrorCode.QueueFull, 'full'));
  expect(events.log.list()).toHaveLength(4);
  now = 1001;
  events.refused('ACME', 'car-1', refusal(ErrorCode.QueueFull, 'full again'));
  expect(events.log.list().at(-1)).toMatchObject({ kind: 'refusal', name: 'ACME', word: 'QueueFull' });
});

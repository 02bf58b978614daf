import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { BrokerResult } from '../../shared/v2e-client/offload-result.ts';
import { Load, type LoadConnection, type LoadPlan } from './load.ts';
import { loadLines } from './load-lines.ts';

const result: BrokerResult = {
  output: new Uint8Array(0),
  place: 'broker:b',
  isolation: 'process',
  queueMs: 1,
  startMs: 2,
  runMs: 3,
  totalMs: 7,
  kept: false,
  receipt: undefined,
};
const never = new AbortController().signal;
const plan: LoadPlan = { count: 10, durationMs: Infinity, rate: undefined, concurrency: 2, budgetMs: 100 };

class Connection implements LoadConnection {
  connected = true;
  readonly ids: string[] = [];
  open = 0;
  mostOpen = 0;
  answer: (id: string, deadline: Deadline) => Promise<BrokerResult> = async () => result;

  async offload(id: string, deadline: Deadline): Promise<BrokerResult> {
    this.ids.push(id);
    this.mostOpen = Math.max(this.mostOpen, ++this.open);
    try {
      await sleep(1);
      return await this.answer(id, deadline);
    } finally {
      this.open--;
    }
  }
}

test('so many are sent, so many at a time, over all connections, and no id twice', async () => {
  const two = [new Connection(), new Connection()];
  const load = new Load(two, { ...plan, concurrency: 4 });
  await load.run(never);
  const ids = two.flatMap((one) => one.ids);
  expect(new Set(ids).size).toBe(10);
  expect(two.map(({ mostOpen }) => mostOpen)).toEqual([2, 2]);
  const report = load.report();
  expect(report).toMatchObject({ sent: 10, answered: 10, kept: 0, interrupted: false, refusals: [] });
  expect(report.totalMs).toMatchObject({ count: 10, max: 7 });
  expect(report.answeredPerSecond).toBeCloseTo(10 / report.seconds);
});

test('what is not answered is counted by its reason, with the newest sentence', async () => {
  const connection = new Connection();
  const errors = [
    new KerbError(ErrorCode.OffloadRefused, 'full', { refusal: ErrorCode.QueueFull }),
    new KerbError(ErrorCode.OffloadRefused, 'fuller', { refusal: ErrorCode.QueueFull }),
    new KerbError(ErrorCode.BudgetExhausted, 'spent there', { refusal: ErrorCode.BudgetSpentInQueue }),
    new KerbError(ErrorCode.BudgetExhausted, 'no answer'),
    new KerbError(ErrorCode.BrokerLost, 'lost'),
    new Error('a defect'),
  ];
  connection.answer = async () => {
    const error = errors.shift();
    if (error !== undefined) throw error;
    return { ...result, kept: true };
  };
  const load = new Load([connection], { ...plan, concurrency: 1 });
  await load.run(never);
  const report = load.report();
  expect(report).toMatchObject({ sent: 10, answered: 4, kept: 4 });
  expect(report.refusals.map(({ reason, count, message }) => [reason, count, message])).toEqual([
    ['overloaded', 2, 'fuller'],
    ['deadline_unreachable', 1, 'spent there'],
    ['late', 1, 'no answer'],
    ['connection_lost', 1, 'lost'],
    ['failed', 1, 'a defect'],
  ]);
  const lines = loadLines(report).join('\n');
  expect(lines).toMatch(/^answered {2}4 within the budget \(40\.0 %\)/m);
  expect(lines).toMatch(/^overloaded +2 +\S+ +\S+ +fuller$/m);
});

test('at a rate, sending does not wait for answers', async () => {
  const connection = new Connection();
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  connection.answer = async () => {
    if (connection.ids.length === 20) release();
    await held;
    return result;
  };
  const load = new Load([connection], { ...plan, count: 20, rate: 2000 });
  await load.run(never);
  expect(connection.mostOpen).toBe(20);
  expect(load.report()).toMatchObject({ sent: 20, answered: 20 });
});

test('a time ends it, and a signal at once: what there is, is reported', async () => {
  const short = new Load([new Connection()], { ...plan, count: Infinity, durationMs: 30 });
  await short.run(never);
  expect(short.report().sent).toBeGreaterThan(0);

  const hangs = new Connection();
  hangs.answer = () => new Promise(() => {});
  const stop = new AbortController();
  const load = new Load([hangs], { ...plan, count: Infinity });
  setTimeout(() => stop.abort(), 20);
  await load.run(stop.signal);
  expect(load.report()).toMatchObject({ sent: 2, answered: 0, interrupted: true, refusals: [] });
  expect(loadLines(load.report())[1]).toBe('answered  0 within the budget (0.0 %), 0.0 per second');
});

test.each([undefined, 1000])('without a connection it ends instead of failing for ever (rate %s)', async (rate) => {
  const lost = new Connection();
  lost.answer = async () => {
    lost.connected = false;
    throw new KerbError(ErrorCode.BrokerLost, 'lost');
  };
  const load = new Load([lost], { ...plan, count: Infinity, concurrency: 1, rate });
  await load.run(never);
  const { sent, refusals } = load.report();
  expect(refusals).toEqual([expect.objectContaining({ reason: 'connection_lost', count: sent })]);
});

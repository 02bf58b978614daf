import { Registry } from 'prom-client';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { digestOf } from '../../shared/base/once/once.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import { FakeTender } from '../../test/support/fake-tender.ts';
import { until } from '../../test/support/until.ts';
import { Admission } from '../admission/admission.ts';
import { DEFAULT_LIMITS } from '../config.ts';
import type { ReceiptSigner } from '../results/receipt-signer.ts';
import { Results } from '../results/results.ts';
import { BrokerMetrics } from '../telemetry/metrics.ts';
import { ResultMetrics } from '../telemetry/result-metrics.ts';
import { builtInPolicy } from '../tenants/built-in.ts';
import { Tenants } from '../tenants/tenants.ts';
import { TenderPool } from '../tenders/pool/pool.ts';
import { TenderPools } from '../tenders/pool/pools.ts';
import type { AnnouncedOffload, IncomingOffload, PendingOffload, TaskResult } from './offload.ts';
import { Offloads } from './offloads.ts';

const DIGEST = 'sha256:a';
const SLEEP = (ms: number) => Buffer.from([0x73, ms]);

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** Offloads of one task with fake tenders. */
async function offloadsOf(limits: Partial<typeof DEFAULT_LIMITS> = {}, tenants?: Tenants) {
  const all = { ...DEFAULT_LIMITS, maxRunning: 1, maxTendersPerTask: 1, ...limits };
  const tenders: FakeTender[] = [];
  const log = silentLog();
  const admission = new Admission<PendingOffload>({
    limits: all,
    tendersOf: (digest) => offloads.tendersOf(digest),
    onDropped: (flight, waitedMs) => offloads.runs.dropped(flight, waitedMs),
    onLong: (flight) => offloads.runs.isLong(flight),
  });
  const pools = new TenderPools(all, (digest) => admission.queuedFor(digest));
  const results = new Results({
    broker: 'rsu-1',
    limitsOf: () => ({ count: 100, bytes: 1e6, keepMs: 60_000 }),
    totals: { count: 1000, memory: 1e7, disk: 0 },
    // No test here asks for one.
    receipts: { why: 'no identity' } as ReceiptSigner,
    metrics: new ResultMetrics(new Registry()),
  });
  stops.push(async () => results.stop());
  const metrics = new BrokerMetrics();
  const offloads: Offloads = new Offloads(admission, results, metrics, all, () => pools.planSoon(), tenants);
  const pool = new TenderPool({
    name: DIGEST,
    task: 'echo 1',
    declaredBytes: 1,
    kept: true,
    maxTenders: all.maxTendersPerTask,
    idleMs: all.idleMs,
    createTender: async () => {
      const tender = new FakeTender();
      tenders.push(tender);
      return tender;
    },
    onWaiting: () => offloads.dispatch(),
    onTrouble: () => {},
    onChange: () => pools.plan(),
    log,
  });
  pools.add(pool);
  const everybody = { mayRun: () => true, maySee: () => true };
  offloads.add({ digest: DIGEST, name: 'echo', maxInput: 1000, memory: 1, pool, ...everybody });
  await pools.start();
  stops.push(async () => {
    await offloads.stop(0);
    await pools.stop();
  });
  return { offloads, admission, pool, tenders };
}

let nextId = 1;
function request(change: Partial<IncomingOffload> & { budgetMs?: number } = {}): IncomingOffload {
  const { budgetMs = 1000, ...rest } = change;
  return {
    id: `o${nextId++}`,
    tenant: 'acme',
    vehicle: 'v1',
    taskDigest: DIGEST,
    input: Buffer.from('e'),
    isolation: 'any',
    priority: 500,
    deadline: new Deadline(budgetMs),
    serviceClass: 'normal',
    keepMs: 0,
    durable: false,
    dwellMs: Number.POSITIVE_INFINITY,
    wantReceipt: false,
    traceparent: '',
    ...rest,
  };
}

/** What each caller was told, in order: ok, or the name of the code. */
interface Told {
  readonly results: (TaskResult | undefined)[];
  readonly codes: (number | undefined)[];
}

function told(): Told & { readonly answer: (result: TaskResult | undefined, refusal: Refusal | undefined) => void } {
  const results: (TaskResult | undefined)[] = [];
  const codes: (number | undefined)[] = [];
  return {
    results,
    codes,
    answer: (result, refusal) => {
      results.push(result);
      codes.push(refusal?.code);
    },
  };
}

describe('cancelled', () => {
  test('one that waits is taken out, its caller is told, and another one is not touched', async () => {
    const { offloads, admission, tenders } = await offloadsOf({ longRunMs: 10_000 });
    const [running, waiting, other] = [told(), told(), told()];
    offloads.submit(request({ input: SLEEP(60) }), running.answer);
    offloads.submit(request({ id: 'x' }), waiting.answer);
    offloads.submit(request({ id: 'x', vehicle: 'v2' }), other.answer);
    expect(offloads.cancel('acme', 'v3', 'x')).toBe(false);
    expect(offloads.cancel('other', 'v1', 'x')).toBe(false);
    expect(offloads.cancel('acme', 'v1', 'x')).toBe(true);
    expect(waiting.codes).toEqual([ErrorCode.OffloadCancelled]);
    expect(offloads.cancel('acme', 'v1', 'x')).toBe(false);
    expect(admission.queued).toBe(1);
    await until('it has come so far', () => other.codes.length === 1 && running.codes.length === 1);
    expect([running.codes, other.codes]).toEqual([[undefined], [undefined]]);
    expect(tenders.map(({ calls }) => calls)).toEqual([2]);
  });

  test('one that runs is told at once; its tender is ended, and the next one gets another', async () => {
    const { offloads, tenders } = await offloadsOf();
    const [running, next] = [told(), told()];
    offloads.submit(request({ id: 'x', input: SLEEP(250) }), running.answer);
    offloads.submit(request(), next.answer);
    expect(offloads.cancel('acme', 'v1', 'x')).toBe(true);
    expect(running.codes).toEqual([ErrorCode.OffloadCancelled]);
    await until('it has come so far', () => tenders.length === 2);
    expect(tenders[0]!.state).toBe('Stopped');
    await until('it has come so far', () => next.codes.length === 1);
    expect([running.codes.length, next.codes]).toEqual([1, [undefined]]);
  });

  test('a short run ends by itself, and its tender stays', async () => {
    const { offloads, tenders } = await offloadsOf();
    const [running, next] = [told(), told()];
    offloads.submit(request({ id: 'x', input: SLEEP(1) }), running.answer);
    offloads.cancel('acme', 'v1', 'x');
    offloads.submit(request({ id: 'x' }), next.answer);
    await until('it has come so far', () => next.codes.length === 1);
    expect([running.codes, next.codes]).toEqual([[ErrorCode.OffloadCancelled], [undefined]]);
    expect(tenders.map(({ calls, state }) => [calls, state])).toEqual([[2, 'Waiting']]);
  });

  test('the same id may be used anew, with another input', async () => {
    const { offloads } = await offloadsOf();
    const [running, again] = [told(), told()];
    offloads.submit(request({ id: 'x', input: SLEEP(5) }), running.answer);
    offloads.cancel('acme', 'v1', 'x');
    offloads.submit(request({ id: 'x', input: SLEEP(2) }), again.answer);
    await until('it has come so far', () => again.codes.length === 1);
    expect(again.results[0]?.output).toEqual(SLEEP(2));
  });
});

describe('a link that is lost', () => {
  test('cancels what was asked by it and is not to be kept, and nothing else', async () => {
    const { offloads, admission } = await offloadsOf();
    const [lost, other] = [{}, {}];
    const tells = [told(), told(), told(), told()] as const;
    offloads.submit(request({ input: SLEEP(40) }), tells[0].answer, other);
    offloads.submit(request(), tells[1].answer, lost);
    offloads.submit(request({ keepMs: 1000 }), tells[2].answer, lost);
    offloads.submit(request(), tells[3].answer, other);
    offloads.linkLost(lost);
    expect(tells.map(({ codes }) => codes)).toEqual([[], [ErrorCode.OffloadCancelled], [], []]);
    expect(admission.queued).toBe(2);
    offloads.linkLost(lost);
    offloads.linkLost({});
    await until('it has come so far', () => tells.every(({ codes }) => codes.length === 1));
    expect(tells.map(({ codes }) => codes[0])).toEqual([undefined, ErrorCode.OffloadCancelled, undefined, undefined]);
  });

  test('costs another caller of the same offload nothing', async () => {
    const { offloads, tenders } = await offloadsOf();
    const [lost, other] = [{}, {}];
    const [first, second] = [told(), told()];
    const same = { id: 'x', input: SLEEP(60) };
    offloads.submit(request(same), first.answer, lost);
    offloads.submit(request(same), second.answer, other);
    offloads.linkLost(lost);
    expect([first.codes, second.codes]).toEqual([[ErrorCode.OffloadCancelled], []]);
    await until('it has come so far', () => second.codes.length === 1);
    expect(second.codes).toEqual([undefined]);
    expect(tenders.map(({ calls, state }) => [calls, state])).toEqual([[1, 'Waiting']]);
  });
});

describe('callers of the same offload', () => {
  test('one with less time is told when that is over, and the run goes on for the other', async () => {
    const { offloads, tenders } = await offloadsOf();
    const [first, short] = [told(), told()];
    const same = { id: 'x', input: SLEEP(120) };
    offloads.submit(request(same), first.answer);
    offloads.submit(request({ ...same, budgetMs: 20 }), short.answer);
    await until('it has come so far', () => short.codes.length === 1);
    expect([first.codes, short.codes]).toEqual([[], [ErrorCode.GuestDeadline]]);
    await until('it has come so far', () => first.codes.length === 1);
    expect(first.codes).toEqual([undefined]);
    expect(short.codes).toHaveLength(1);
    expect(tenders[0]!.calls).toBe(1);
  });

  test('one with more time that comes while it waits makes it wait for longer, and the first is told in its time', async () => {
    const { offloads } = await offloadsOf();
    const [running, short, long] = [told(), told(), told()];
    offloads.submit(request({ input: SLEEP(120) }), running.answer);
    offloads.submit(request({ id: 'x', budgetMs: 30 }), short.answer);
    offloads.submit(request({ id: 'x', budgetMs: 2000 }), long.answer);
    await until('it has come so far', () => long.codes.length === 1);
    expect([short.codes, long.codes]).toEqual([[ErrorCode.BudgetSpentInQueue], [undefined]]);
  });

  test('one with more time that comes while it runs gets a run of its own when the first one is cut off', async () => {
    const { offloads, tenders } = await offloadsOf();
    const [short, long] = [told(), told()];
    // Runs into its deadline at once, whatever that is.
    offloads.submit(request({ id: 'x', input: Buffer.from('d'), budgetMs: 10 }), short.answer);
    offloads.submit(request({ id: 'x', input: Buffer.from('d'), budgetMs: 500 }), long.answer);
    await until('it has come so far', () => long.codes.length === 1);
    expect(tenders[0]!.calls).toBe(2);
    expect(long.codes).toEqual([ErrorCode.GuestDeadline]);
    await until('it has come so far', () => short.codes.length === 1);
  });
});

test('a tenant gets no more urgent class than its highest', async () => {
  const policy = builtInPolicy({ limits: DEFAULT_LIMITS, push: undefined });
  const urgent = { ...policy.others, highestClass: 'safety' as const };
  const tenants = new Tenants({ ...policy, tenants: new Map([['urgent', urgent]]) });
  const { offloads } = await offloadsOf({}, tenants);
  const order: string[] = [];
  offloads.runs.onRun = ({ tenant, serviceClass }) => order.push(`${tenant} ${serviceClass}`);
  const all = [told(), told(), told()];
  offloads.submit(request({ tenant: 'first', input: SLEEP(20) }), all[0]!.answer);
  offloads.submit(request({ tenant: 'capped', serviceClass: 'safety' }), all[1]!.answer);
  offloads.submit(request({ tenant: 'urgent', serviceClass: 'high' }), all[2]!.answer);
  await until('all are answered', () => all.every(({ codes }) => codes.length === 1));
  expect(order).toEqual(['first normal', 'urgent high', 'capped normal']);
  tenants.stop();
});

test('a run that fails says what it has taken, for the audit log', async () => {
  const { offloads } = await offloadsOf();
  const refusals: (Refusal | undefined)[] = [];
  for (const [input, budgetMs] of [
    ['f', 5000],
    ['d', 60],
  ] as const) {
    offloads.submit(request({ input: Buffer.from(input), budgetMs }), (_, refusal) => refusals.push(refusal));
  }
  await until('both are answered', () => refusals.length === 2);
  expect(refusals.map((one) => one?.code)).toEqual([ErrorCode.GuestFault, ErrorCode.GuestDeadline]);
  for (const refusal of refusals)
    expect(refusal).toHaveProperty('run', expect.objectContaining({ isolation: 'process' }));
});

describe('endless runs', () => {
  test('of one tenant shut a task for no other, and are bounded', async () => {
    const { offloads, pool } = await offloadsOf({ maxRunning: 2, maxTendersPerTask: 2, longRunMs: 10 });
    const loops = Array.from({ length: 6 }, () => told());
    for (const { answer } of loops) offloads.submit(request({ input: SLEEP(250), budgetMs: 60_000 }), answer);
    await until('it has come so far', () => pool.use.calls === 2);
    const calm = told();
    offloads.submit(request({ tenant: 'calm', budgetMs: 5000 }), calm.answer);
    await until('it has come so far', () => calm.codes.length === 1);
    expect(calm.codes).toEqual([undefined]);
    // The calm one was served while the first two still ran.
    expect(loops.flatMap(({ codes }) => codes)).toEqual([]);
    expect(pool.use.calls).toBe(3);
  });

  test('one of them, on a single slot, does not end the service of its own tenant', async () => {
    const { offloads } = await offloadsOf({ maxRunning: 1, maxTendersPerTask: 2, longRunMs: 10 });
    const [loop, next] = [told(), told()];
    offloads.submit(request({ input: SLEEP(250), budgetMs: 60_000 }), loop.answer);
    offloads.submit(request({ budgetMs: 5000 }), next.answer);
    await until('it has come so far', () => next.codes.length === 1);
    expect(next.codes).toEqual([undefined]);
    expect(loop.codes).toEqual([]);
  });
});

describe('announced, with an input that is to come', () => {
  const input = Buffer.from('e');
  const inputDigest = digestOf(input);
  const announced = (
    change: Parameters<typeof request>[0] & { size?: number; hash?: string } = {},
  ): AnnouncedOffload => {
    const { size = input.length, hash = inputDigest, ...rest } = change;
    return { ...request(rest), input: { length: size }, inputDigest: hash };
  };

  test('it is wanted only when it would be taken as it looks now', async () => {
    const { offloads } = await offloadsOf({ maxQueuedPerTenant: 1 });
    const [ok, large, unknown, vm, full] = [told(), told(), told(), told(), told()];
    let wanted = 0;
    const want = () => wanted++;
    offloads.announce(announced(), ok.answer, want);
    expect([wanted, ok.codes]).toEqual([1, []]);
    offloads.announce(announced({ size: 1001 }), large.answer, want);
    offloads.announce(announced({ taskDigest: 'sha256:b' }), unknown.answer, want);
    for (let n = 0; n < 2; n++) offloads.submit(request({ input: SLEEP(60) }), told().answer);
    offloads.announce(announced(), full.answer, want);
    expect([large.codes, unknown.codes, full.codes]).toEqual([
      [ErrorCode.TenderInputTooLarge],
      [ErrorCode.UnknownPackage],
      [ErrorCode.TooManyFromTenant],
    ]);
    await offloads.stop(0);
    offloads.announce(announced(), vm.answer, want);
    expect([wanted, vm.codes]).toEqual([1, [ErrorCode.BrokerStopping]]);
  });

  test('the same id and hash joins what runs and gets what is kept, without its bytes; another hash is refused', async () => {
    const { offloads } = await offloadsOf();
    const [first, joined, later, other] = [told(), told(), told(), told()];
    const want = () => expect.unreachable('its bytes are not needed');
    const terms = { id: 'same', keepMs: 10_000 };
    offloads.submit({ ...request({ ...terms, input }), inputDigest }, first.answer);
    offloads.announce(announced(terms), joined.answer, want);
    offloads.announce(announced({ ...terms, hash: digestOf(Buffer.from('x')) }), other.answer, want);
    expect(other.codes).toEqual([ErrorCode.BadOffloadRequest]);
    await vi.waitFor(() => expect([first.codes.length, joined.codes.length]).toEqual([1, 1]));
    expect([first.codes, joined.codes]).toEqual([[undefined], [undefined]]);
    offloads.announce(announced(terms), later.answer, want);
    offloads.announce(announced({ ...terms, hash: digestOf(Buffer.from('x')) }), other.answer, want);
    await vi.waitFor(() => expect(later.codes).toHaveLength(1));
    expect(later.results[0]).toMatchObject({ kept: true, output: first.results[0]!.output });
    expect(other.codes).toEqual([ErrorCode.BadOffloadRequest, ErrorCode.BadOffloadRequest]);
  });
});

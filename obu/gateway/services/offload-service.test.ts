import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import type { OffloadResult } from '../../../shared/v2e-client/offload-result.ts';
import { DIGEST, HandOffloader, HandSignals, noGrants, workload } from '../../../test/support/gateway-parts.ts';
import { GrantGuard } from '../../grants/grants.ts';
import { MAX_OPEN, MAX_OPEN_BYTES, OffloadService } from './offload-service.ts';

const guard = { task: () => DIGEST, placeLimits: { places: ['cloud'], maxCost: 3 } } as unknown as GrantGuard;
const result = (output: Uint8Array): OffloadResult => ({
  output,
  place: 'broker:a',
  isolation: 'process',
  queueMs: 0,
  runMs: 0,
  totalMs: 0,
});

function desk(answer: HandOffloader['answer']) {
  const offloader = new HandOffloader();
  offloader.answer = answer;
  const made = new OffloadService({ scope: 'car/app', priority: () => 5, guard, offloader });
  const hand = (id: string, input: Uint8Array, isolation = '') =>
    made.submit({ id, task: 't', input, budgetMs: 100, isolation });
  return { hand, offloader, clear: () => made.clear() };
}

describe('the desk', () => {
  it('passes a demand for an isolation on, knows no others, and takes no two under one id', async () => {
    const { hand, offloader } = desk(async ({ input }) => result(input));
    await hand('a', Buffer.of(1), 'vm');
    await hand('b', Buffer.of(1));
    expect(offloader.requests.map(({ isolation }) => isolation)).toEqual(['vm', 'any']);
    expect(offloader.requests[0]).toMatchObject({ kinds: ['cloud'], maxCost: 3 });
    await expect(hand('a', Buffer.of(1))).rejects.toMatchObject({ code: ErrorCode.BadGatewayRequest });
    await expect(hand('c', Buffer.of(1), 'none')).rejects.toMatchObject({ code: ErrorCode.BadGatewayRequest });
    expect(offloader.requests).toHaveLength(2);
  });

  it('takes no more than so many open offloads, and takes more when they are done', async () => {
    const release: (() => void)[] = [];
    const { hand } = desk(({ input }) => new Promise((resolve) => release.push(() => resolve(result(input)))));
    const open = Array.from({ length: MAX_OPEN }, (_, i) => hand(`o${i}`, Buffer.of(1)));
    await expect(hand('more', Buffer.of(1))).rejects.toMatchObject({ code: ErrorCode.TooManyRequests });
    for (const go of release) go();
    await Promise.all(open);
    const after = hand('more', Buffer.of(1));
    release.at(-1)!();
    await after;
  });

  it('cancels what is open when the workload is gone, and nothing else', async () => {
    let release = () => {};
    const { hand, offloader, clear } = desk(async ({ id, input }) => {
      if (id.endsWith('open')) await new Promise<void>((resolve) => (release = resolve));
      return result(input);
    });
    await hand('done', Buffer.of(1));
    const open = hand('open', Buffer.of(1));
    clear();
    expect(offloader.cancelled).toEqual(['car/app/open']);
    release();
    await open;
  });

  it('takes no more than so many bytes of input', async () => {
    const { hand } = desk(() => new Promise(() => {}));
    void hand('big', Buffer.alloc(MAX_OPEN_BYTES));
    await expect(hand('small', Buffer.of(1))).rejects.toMatchObject({ code: ErrorCode.TooManyRequests });
  });

  it('keeps few results and no large ones: what it has let go of is run again', async () => {
    const { hand, offloader, clear } = desk(async ({ input }) => result(input));
    for (let i = 0; i <= 16; i++) await hand(`o${i}`, Buffer.of(1));
    await hand('o16', Buffer.of(1));
    expect(offloader.requests).toHaveLength(17);
    await hand('o0', Buffer.of(1));
    expect(offloader.requests).toHaveLength(18);
    const large = Buffer.alloc(5 * 1024 * 1024);
    await hand('large', large);
    await hand('large', large);
    expect(offloader.requests).toHaveLength(20);
    clear();
  });
});

it('goes with the session state that is granted, and with no other', async () => {
  const offloader = new HandOffloader();
  offloader.answer = async ({ input }) => result(Buffer.from(input));
  const parts = { routers: new Map(), signals: new HandSignals(), cameras: new Map(), tasks: new Map([['t', DIGEST]]) };
  const grants = { ...noGrants, offload: { tasks: ['t'], maxBudgetMs: 1000, state: ['trip'] } };
  const guard = new GrantGuard(workload('app', grants), parts);
  const made = new OffloadService({ scope: 'car/app', priority: () => 5, guard, offloader });
  const ask = (id: string, stateKey: string) =>
    made.submit({ id, task: 't', input: Buffer.of(1), budgetMs: 100, isolation: '', stateKey });
  await ask('a', 'trip');
  await ask('b', '');
  expect(offloader.requests.map(({ stateKey }) => stateKey)).toEqual(['trip', undefined]);
  await expect(ask('c', 'other')).rejects.toMatchObject({
    code: ErrorCode.NotGranted,
    message: expect.stringMatching(/session state "other".*x-obu.grants.offload.state: \["trip", "other"\]/),
  });
  // The same id with another key is another offload.
  await expect(ask('a', '')).rejects.toMatchObject({ code: ErrorCode.BadGatewayRequest });
  expect(offloader.requests).toHaveLength(2);
  made.clear();
});

it('holds the budget as it was asked against the grant, and keeps some for the way back', async () => {
  const offloader = new HandOffloader();
  const parts = { routers: new Map(), signals: new HandSignals(), cameras: new Map(), tasks: new Map([['t', DIGEST]]) };
  const granted = new GrantGuard(workload('app', { ...noGrants, offload: { tasks: ['t'], maxBudgetMs: 4990 } }), parts);
  const made = new OffloadService({ scope: 'car/app', priority: () => 5, guard: granted, offloader });
  const ask = (id: string, budgetMs: number) =>
    made.submit({ id, task: 't', input: Buffer.of(1), budgetMs, isolation: '' });
  // A budget has lost microseconds on its way from the container.
  await expect(ask('a', 4999.98)).rejects.toMatchObject({
    code: ErrorCode.NotGranted,
    message: expect.stringMatching(/with a budget of 5000 ms; .*maxBudgetMs: 5000 \(it is 4990\)$/),
  });
  await ask('b', 4990);
  await ask('c', 15);
  expect(offloader.requests.map(({ deadline }) => [deadline.originalMs, deadline.reserveMs])).toEqual([
    [4990, 20],
    [15, 0],
  ]);
  made.clear();
});

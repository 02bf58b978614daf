import { afterEach, expect, test, vi } from 'vitest';
import { ErrorCode, KerbError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { FakeTender } from '../fake-tender.ts';
import { type CallEnd, TenderSupervisor } from './supervisor.ts';

let supervisor: TenderSupervisor;
afterEach(() => supervisor.stop());

function supervise(tenders: FakeTender[] = [], createError?: KerbError) {
  const made: FakeTender[] = [];
  const troubles: KerbError[] = [];
  let waiting = 0;
  supervisor = new TenderSupervisor({
    task: 'echo 1',
    createTender: async () => {
      if (createError !== undefined) throw createError;
      const tender = tenders[made.length] ?? new FakeTender();
      made.push(tender);
      return tender;
    },
    onWaiting: () => waiting++,
    onTrouble: (error) => troubles.push(error),
    log: silentLog(),
  });
  return { made, troubles, waiting: () => waiting };
}

const call = (text: string) => new Promise<CallEnd>((resolve) => supervisor.call(Buffer.from(text), 1000, resolve));

test('waits, is busy for one call, and waits again', async () => {
  supervise();
  await supervisor.start();
  expect(supervisor.state).toBe('Waiting');
  const running = call('e');
  expect(supervisor.state).toBe('Busy');
  expect(() => supervisor.call(Buffer.from('e'), 1, () => {})).toThrow(/is Busy, not Waiting/);
  expect((await running).outcome).toMatchObject({ outcome: 'done' });
  expect(supervisor).toMatchObject({ state: 'Waiting', calls: 1, restarts: 0, isolation: 'process' });
});

test('a death is told once, and a new tender waits a little later', async () => {
  const { made, troubles, waiting } = supervise();
  await supervisor.start();
  expect((await call('k')).error).toMatchObject({ code: ErrorCode.TenderDied });
  expect(supervisor.state).toBe('Dead');
  expect(supervisor.retryInMs).toBeGreaterThan(0);
  await vi.waitUntil(() => supervisor.state === 'Waiting');
  expect(troubles).toHaveLength(1);
  expect(made).toHaveLength(2);
  expect(waiting()).toBe(2);
  expect(supervisor.trouble).toBeUndefined();
});

test('one that dies again and again is started ever later; a served call makes up for it', async () => {
  supervise();
  await supervisor.start();
  const waits: number[] = [];
  for (let i = 0; i < 3; i++) {
    await call('k');
    waits.push(supervisor.retryInMs);
    await vi.waitUntil(() => supervisor.state === 'Waiting');
  }
  expect(waits[1]).toBeGreaterThan(waits[0]!);
  expect(waits[2]).toBeGreaterThan(waits[1]!);
  await call('e');
  await call('k');
  expect(supervisor.retryInMs).toBeLessThanOrEqual(50);
});

test.each([ErrorCode.ImageRefused, ErrorCode.TaskPackageDigestMismatch, ErrorCode.WrongArchitecture])(
  'an image that cannot be used is given up (%d)',
  async (code) => {
    const { made } = supervise([], new KerbError(code, 'not this one'));
    await supervisor.start();
    expect(supervisor).toMatchObject({ state: 'Dead', refused: true, retryInMs: 0 });
    expect(made).toHaveLength(0);
  },
);

test('stopped while a tender starts, or while it waits to start one: none is left', async () => {
  const slow = new FakeTender();
  let finish = () => {};
  slow.start = () => new Promise((resolve) => (finish = resolve));
  const { made } = supervise([slow]);
  const starting = supervisor.start();
  await vi.waitUntil(() => made.length === 1);
  await supervisor.stop();
  finish();
  await starting;
  expect(slow.state).toBe('Stopped');
  expect(supervisor.state).toBe('Stopped');

  const second = supervise();
  await supervisor.start();
  await call('k');
  await supervisor.stop();
  await new Promise((resolve) => setTimeout(resolve, 120));
  expect(second.made).toHaveLength(1);
});

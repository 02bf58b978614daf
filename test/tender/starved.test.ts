import { afterAll, expect, test, vi } from 'vitest';
import { TenderPool } from '../../broker/tenders/pool/pool.ts';
import type { CallEnd } from '../../broker/tenders/pool/pool-options.ts';
import { TenderProcess } from '../../broker/tenders/process/tender-process.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { guestImage } from './support-paths.ts';

// As many tenders as would put a package into quarantine, of a pool with real ones.
const TENDERS = 5;
const stops: (() => Promise<void>)[] = [];
afterAll(() => Promise.all(stops.map((stop) => stop())));

async function poolOf(guest: string) {
  const tenders: TenderProcess[] = [];
  const pool = new TenderPool({
    ...{ name: guest, task: `${guest} 1`, declaredBytes: 1 << 20, kept: true, maxTenders: TENDERS, idleMs: 10_000 },
    createTender: async () => {
      const tender = new TenderProcess({ imagePath: guestImage(guest), log: silentLog(), isolation: 'process' });
      tenders.push(tender);
      return tender;
    },
    ...{ onWaiting: () => {}, onTrouble: () => {}, onChange: () => {}, log: silentLog() },
  });
  stops.push(() => pool.stop());
  for (let i = 0; i < TENDERS; i++) await pool.start();
  const call = (budgetMs: number) =>
    new Promise<CallEnd>((resolve) => pool.call(Buffer.from('x'), new Deadline(budgetMs), resolve));
  return { pool, tenders, call };
}

test('five tenders that get no processor at all are lost, and their package serves on', async () => {
  const { pool, tenders, call } = await poolOf('hello');
  for (const { pid } of tenders) process.kill(pid!, 'SIGSTOP');
  const ends = await Promise.all(tenders.map(() => call(20)));
  for (const { error } of ends) expect(error).toMatchObject({ code: ErrorCode.TenderDied, context: { starved: true } });
  expect(pool.state).toBe('Dead');
  expect(pool.blocked(performance.now())?.code).toBe(ErrorCode.TenderUnavailable);
  await pool.start();
  expect((await call(5_000)).outcome?.outcome).toBe('done');
});

test('five tenders that are killed put it into quarantine', async () => {
  const { pool, tenders } = await poolOf('hello');
  for (const { pid } of tenders) process.kill(pid!, 'SIGKILL');
  await vi.waitFor(() => expect(pool.state).toBe('Quarantined'), { timeout: 10_000 });
});

test('an endless loop is ended in time all the same, on a tender that lives on', async () => {
  const { pool, tenders, call } = await poolOf('loop');
  const ends = await Promise.all(tenders.map(() => call(50)));
  for (const { outcome } of ends) expect(outcome?.outcome).toBe('deadline');
  expect(pool.state).toBe('Waiting');
  expect(tenders.every(({ state }) => state === 'Waiting')).toBe(true);
});

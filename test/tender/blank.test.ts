import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, expect, test, vi } from 'vitest';
import { BlankTenders, type BlankTendersOptions } from '../../broker/tenders/pool/blank-tenders.ts';
import { TenderProcess } from '../../broker/tenders/process/tender-process.ts';
import { createLog, silentLog } from '../../shared/base/log.ts';
import { answer, forEachIsolation, guestImage } from './support.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0)) await step();
});

function blanksOf(options: Partial<BlankTendersOptions>): BlankTenders {
  const blanks = new BlankTenders({ count: 2, isolation: 'auto', log: silentLog(), ...options });
  undo.push(() => blanks.stop());
  return blanks;
}

function take(blanks: BlankTenders, guest: string, isolation: 'auto' | 'process' | 'vm' = 'auto'): TenderProcess {
  const tender = blanks.take(guestImage(guest), silentLog(), isolation);
  undo.push(() => tender.stop());
  return tender;
}

const filters = (pid: number): string | undefined =>
  /^Seccomp_filters:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];

await forEachIsolation((_tenders, isolation) => {
  test('a blank tender is sealed before it has an image, and then takes one as any other', async () => {
    const blanks = blanksOf({ isolation });
    await blanks.start();
    expect(blanks.waiting).toBe(2);
    const tender = take(blanks, 'hello');
    const { pid } = tender;
    expect(filters(pid!)).toBe('1');
    await tender.start();
    expect(tender).toMatchObject({ pid, isolation, state: 'Waiting', image: { name: 'hello' } });
    expect(answer(await tender.call(Buffer.from('blank'), 1_000))).toBe('hello, blank');
    expect(filters(pid!)).toBe('2');
    // One image in a life.
    await expect(tender.start()).rejects.toMatchObject({ code: 8002 });
    expect(() => tender.give(guestImage('tls'), silentLog(), 'auto')).toThrow(/started once/);
  });

  test('one that could be anything becomes what is asked for', async () => {
    const blanks = blanksOf({});
    await blanks.start();
    const tender = take(blanks, 'hello', isolation);
    await tender.start();
    expect(tender.isolation).toBe(isolation);
    expect(answer(await tender.call(Buffer.from('x'), 1_000))).toBe('hello, x');
  });
});

test('what was taken is made up for, and more than there is can be taken', async () => {
  const blanks = blanksOf({ isolation: 'process' });
  await blanks.start();
  const tenders = Array.from({ length: 4 }, () => take(blanks, 'hello'));
  expect(tenders.map(({ pid }) => pid !== undefined)).toEqual([true, true, false, false]);
  expect(blanks.waiting).toBe(0);
  await Promise.all(tenders.map((tender) => tender.start()));
  for (const tender of tenders) expect(answer(await tender.call(Buffer.from('y'), 1_000))).toBe('hello, y');
  await vi.waitFor(() => expect(blanks.waiting).toBe(2), { timeout: 5_000 });
});

test('what it says when it is ready goes to the log that came with the image, which names the task', async () => {
  const lines: string[] = [];
  const blanks = blanksOf({ isolation: 'process' });
  await blanks.start();
  vi.stubEnv('KERB_LOG', 'info');
  undo.push(async () => vi.unstubAllEnvs());
  const log = createLog('broker', { write: (line) => lines.push(line) });
  const tender = blanks.take(guestImage('hello'), log.child({ task: 'hello 1.0.0' }), 'process');
  undo.push(() => tender.stop());
  await tender.start();
  expect(lines).toHaveLength(1);
  expect(lines[0]!.match(/"task":"[^"]*"/g)).toEqual(['"task":"hello 1.0.0"']);
});

test('a dead one is not handed out', async () => {
  const made: TenderProcess[] = [];
  const blanks = blanksOf({
    count: 1,
    create: () => {
      made.push(new TenderProcess({ log: silentLog(), isolation: 'process' }));
      return made.at(-1)!;
    },
  });
  await blanks.start();
  process.kill(made[0]!.pid!, 'SIGKILL');
  await vi.waitFor(() => expect(made[0]!.state).toBe('Dead'));
  expect(blanks.waiting).toBe(0);
  const tender = take(blanks, 'hello');
  expect(tender).not.toBe(made[0]);
  await tender.start();
  expect(answer(await tender.call(Buffer.from('z'), 1_000))).toBe('hello, z');
});

test('one that cannot be started is logged, and costs nobody anything', async () => {
  const warned = vi.fn();
  const log = { ...silentLog(), warn: warned } as unknown as ReturnType<typeof silentLog>;
  const blanks = blanksOf({
    count: 1,
    log,
    create: () => new TenderProcess({ log: silentLog(), binary: '/nonexistent' }),
  });
  await blanks.start();
  expect(warned).toHaveBeenCalledWith({ err: expect.stringContaining('ENOENT') }, expect.any(String));
  expect(blanks.waiting).toBe(0);
  await expect(take(blanks, 'hello').start()).rejects.toMatchObject({ code: 8002 });
});

test('stop() ends those that wait and those on the way, and none comes after', async () => {
  const made: TenderProcess[] = [];
  const blanks = blanksOf({
    create: () => {
      made.push(new TenderProcess({ log: silentLog(), isolation: 'process' }));
      return made.at(-1)!;
    },
  });
  const starting = blanks.start();
  expect(made.length).toBe(2);
  await blanks.stop();
  await starting;
  expect(blanks.waiting).toBe(0);
  for (const { pid } of made) expect(readdirSync('/proc')).not.toContain(String(pid));
  take(blanks, 'hello');
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(blanks.waiting).toBe(0);
});

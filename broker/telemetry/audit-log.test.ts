import { expect, test } from 'vitest';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { refusal } from '../../shared/base/refusal.ts';
import type { FailedRun } from '../offloads/offload.ts';
import type { Asked } from './asked.ts';
import { AuditLog } from './audit-log.ts';

function audit() {
  const lines: Record<string, unknown>[] = [];
  const clock = { ms: 0 };
  const log = new AuditLog({
    broker: 'rsu-1',
    write: (line) => {
      expect(line).not.toContain('\n');
      lines.push(JSON.parse(line));
    },
    nowMs: () => clock.ms,
  });
  return { log, lines, clock };
}

const asked = (tenant = 'ACME', id = 'o1'): Asked => ({
  ...{ id, tenant, vehicle: 'car-1', digest: 'sha256:0', task: 'echo', version: '1', serviceClass: 'normal' },
  ...{ isolation: 'any', deadline: new Deadline(100), bytes: 3, sha256: undefined },
});
const result = {
  ...{ output: Buffer.from('abcd'), queueMs: 1.23456, startMs: 0, runMs: 2, cpuMs: 1.5, peakMemory: 1 },
  isolation: 'vm',
};

test('a line says who ran what, how and how long', () => {
  const { log, lines } = audit();
  log.answered(asked(), result, undefined);
  expect(lines).toMatchObject([
    {
      ...{ event: 'offload', broker: 'rsu-1', tenant: 'ACME', vehicle: 'car-1', id: 'o1', task: 'echo', version: '1' },
      ...{ digest: 'sha256:0', class: 'normal', isolation: 'vm', outcome: 'ok', queueMs: 1.235, runMs: 2, cpuMs: 1.5 },
      ...{ inputBytes: 3, outputBytes: 4 },
    },
  ]);
  expect(lines[0]).not.toHaveProperty('reason');
  expect(lines[0]).not.toHaveProperty('inputSha256');
  expect(new Date(String(lines[0]!.time)).getTime()).toBeGreaterThan(0);
});

test('a run that failed has its times too; what was not run has none', () => {
  const { log, lines } = audit();
  const run = { queueMs: 1, runMs: 20.12345, cpuMs: 19, isolation: 'process' };
  log.answered(asked(), undefined, { ...refusal(ErrorCode.GuestDeadline, 'x'), run } as FailedRun);
  log.answered(asked(), undefined, refusal(ErrorCode.BudgetSpentInQueue, 'x'));
  const times = { isolation: 'process', queueMs: 1, runMs: 20.123, cpuMs: 19 };
  expect(lines[0]).toMatchObject({ event: 'offload', outcome: 'failed', ...times });
  for (const field of Object.keys(times)) expect(lines[1]).not.toHaveProperty(field);
});

test('names of callers cannot make a line of their own', () => {
  const { log, lines } = audit();
  log.answered({ ...asked(), id: 'a"}\n{"event":"drain"' }, undefined, refusal(ErrorCode.GuestFault, 'x'));
  expect(lines).toMatchObject([{ event: 'offload', id: 'a"}\n{"event":"drain"', outcome: 'failed', reason: 'failed' }]);
});

test('a flood of refused requests is summed up by tenant and reason, and hides nothing of the others', () => {
  const { log, lines, clock } = audit();
  for (let i = 0; i < 1000; i++) {
    log.answered(
      asked('Flood', `o${i}`),
      undefined,
      refusal(i % 4 === 0 ? ErrorCode.QueueFull : ErrorCode.QuotaSpent, 'x'),
    );
  }
  log.answered(asked('ACME', 'refused'), undefined, refusal(ErrorCode.UnknownPackage, 'x'));
  // What ran has its line whatever came of it.
  for (let i = 0; i < 100; i++) log.answered(asked('Flood', `f${i}`), undefined, refusal(ErrorCode.GuestFault, 'x'));
  const of = (tenant: string) => lines.filter((line) => line.tenant === tenant);
  expect(of('Flood')).toHaveLength(20 + 100);
  expect(of('ACME')).toHaveLength(1);
  clock.ms = 1001;
  log.answered(asked('Flood', 'later'), undefined, refusal(ErrorCode.QueueFull, 'x'));
  expect(lines.slice(-2)).toMatchObject([
    { event: 'refused', tenant: 'Flood', count: 980, reasons: { overloaded: 245, quota: 735 } },
    { event: 'offload', id: 'later' },
  ]);
});

test('a stop writes what was summed up', () => {
  const { log, lines } = audit();
  for (let i = 0; i < 21; i++) log.answered(asked(), undefined, refusal(ErrorCode.QueueFull, 'x'));
  log.stop();
  log.stop();
  expect(lines).toHaveLength(21);
  expect(lines.at(-1)).toMatchObject({ event: 'refused', count: 1, reasons: { overloaded: 1 } });
});

test('actions have who did them', () => {
  const { log, lines } = audit();
  log.action({ event: 'drain', by: 'operator alice', detail: 'for 30 s' });
  expect(lines).toMatchObject([{ event: 'drain', by: 'operator alice', detail: 'for 30 s', broker: 'rsu-1' }]);
});

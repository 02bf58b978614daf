import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, test, vi } from 'vitest';
import { runReport } from '../support/machine/cgroup-runs.ts';
import { describeWhere } from '../support/machine/not-run.ts';
import type { CgroupReport } from './cgroup-report.ts';
import { guestImage } from './support-paths.ts';

// Whatever version of control groups this machine has; both in test/long/cgroups.test.ts.

const image = guestImage('hello');
const { report: first } = await runReport<CgroupReport>(['required', image]);
const pids: number[] = [];
afterAll(() => {
  for (const pid of pids) if (existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL');
});

/** `SLOT` is the group of a tender in that of all tenders of one broker. */
const SLOT = /\/kerbside-tenders-\d+-\d+-\d+\/\d+$/m;
const lines = (report: CgroupReport) => report.lines.map(({ msg }) => msg);
const alive = (pid: number) => existsSync(`/proc/${pid}`);
const eventually = (check: () => void) => vi.waitFor(check, { timeout: 10_000, interval: 20 });

test('off: no groups, and no line about them', async () => {
  const { report } = await runReport<CgroupReport>(['off', image]);
  expect(report).toMatchObject({ lines: [], answer: 'hello, you' });
  // Beside this test there may be those of other brokers, and of killed ones.
  expect(report.left!.filter((path) => path.includes(`-${report.brokerPid}-`))).toEqual([]);
  expect(report.tender).toBe(report.broker);
});

test('a mode that there is not is refused, with those that there are', async () => {
  const serve = ['broker', 'serve', '--id', 'rsu-1', '--packages', '/none', '--cgroups', 'sometimes'];
  const run = promisify(execFile)(process.execPath, [join(import.meta.dirname, '../../cli/kerb.ts'), ...serve]);
  await expect(run).rejects.toMatchObject({ stderr: expect.stringMatching(/sometimes.*auto, required, off/) });
});

describeWhere(first.error?.message, 'control groups of tenders', () => {
  test('a tender and its guest are in a group with limits, and nothing is left behind', () => {
    expect(first.answer).toBe('hello, you');
    expect(first.tender).toMatch(SLOT);
    expect(first.guest).toBe(first.tender);
    expect(first.broker).not.toMatch(SLOT);
    // A group is used again.
    expect(first.secondTender).toBe(first.tender);
    expect(first.limits).toMatchObject({ 'pids.max': '8' });
    const memory = Number(first.limits!['memory.max'] ?? first.limits!['memory.limit_in_bytes']);
    expect(memory).toBeGreaterThan(18 << 20);
    expect(memory).toBeLessThan(32 << 20);
    expect(lines(first)[0]).toBe('tenders have control groups');
    expect(first.left!.filter((path) => path.includes(`-${first.brokerPid}-`))).toEqual([]);
    expect(first.brokerAfter).not.toMatch(/kerbside/);
  });

  test('what is in such a group starts no more processes, and takes no more memory, than it may', () => {
    expect(first.forks).toBeGreaterThan(0);
    expect(first.forks).toBeLessThan(8);
    // Its output is what was left when the kernel had ended it.
    expect(Number(first.greedy)).toBeLessThan(64 << 20);
  });

  test('a killed broker takes its tenders along, stopped ones too, and the next one removes its groups', async () => {
    const living = await runReport<CgroupReport>(['required', image], true);
    const dead = await runReport<CgroupReport>(['required', image], true);
    pids.push(living.child.pid!, dead.child.pid!, living.report.pid!, dead.report.pid!);
    process.kill(dead.report.pid!, 'SIGSTOP');
    const ended = once(dead.child, 'exit');
    dead.child.kill('SIGKILL');
    await ended;
    await eventually(() => expect(alive(dead.report.pid!)).toBe(false));

    const { report } = await runReport<CgroupReport>(['required', image, 'brief']);
    // Brokers of other tests remove groups of the dead as well, and leave some: only these two count.
    const of = (pid: number | undefined, found: CgroupReport) =>
      found.left!.filter((path) => path.includes(`-${pid}-`)).length;
    expect(of(dead.child.pid, report)).toBe(0);
    expect(of(living.child.pid, report)).toBeGreaterThan(0);
    const removed = report.lines.filter(({ msg }) => msg === 'removed control groups of a dead broker');
    expect(removed.some(({ path }) => String(path).includes(`-${living.child.pid}-`))).toBe(false);
    expect(alive(living.report.pid!)).toBe(true);

    const gone = once(living.child, 'exit');
    living.child.kill('SIGKILL');
    await gone;
    await eventually(() => expect(alive(living.report.pid!)).toBe(false));
    const { report: last } = await runReport<CgroupReport>(['required', image, 'brief']);
    expect(of(living.child.pid, last)).toBe(0);
  });
});

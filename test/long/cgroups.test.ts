/**
 * Control groups of tenders with cgroup v2, in Debian's kernel (test/support/machine/kernel-machine.ts), whatever this
 * machine has: at the root of the hierarchy, in a delegated subtree as root and as a user, beside other processes, and where
 * none can be made.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseReport, REPORT_PROGRAM } from '../support/machine/cgroup-runs.ts';
import { KernelMachine, kernelMachineMissing } from '../support/machine/kernel-machine.ts';
import { describeWhere } from '../support/machine/not-run.ts';
import type { CgroupReport } from '../tender/cgroup-report.ts';
import { guestImage } from '../tender/support-paths.ts';

// The machine's own kernel would come with its own control groups.
process.env.KERB_TEST_KERNEL = 'qemu';
const RUN_MS = 900_000;
const image = guestImage('hello');
const command = (mode: string, how = '') =>
  `'${process.execPath}' --disable-warning=ExperimentalWarning '${REPORT_PROGRAM}' ${mode} '${image}' ${how}`;

/** A delegated subtree, as systemd makes one: `unit` is the broker's, with the three controllers. */
const DELEGATED = `cd /sys/fs/cgroup
for one in memory pids cpu; do echo +$one >cgroup.subtree_control; done
mkdir -p slice && for one in memory pids cpu; do echo +$one >slice/cgroup.subtree_control; done
mkdir slice/unit
cd - >/dev/null
`;
const inUnit = (line: string) => `sh -c 'echo $$ >/sys/fs/cgroup/slice/unit/cgroup.procs; exec "$@"' sh ${line}`;
const CLEAN = 'sleep 1; rmdir /sys/fs/cgroup/slice/unit /sys/fs/cgroup/slice';

describeWhere(kernelMachineMissing(), 'cgroup v2', () => {
  let machine: KernelMachine;
  beforeAll(async () => {
    machine = await KernelMachine.boot({ name: 'cgroup v2', modules: [], later: [], memoryMib: 2048 });
  });
  afterAll(() => machine?.stop());

  async function run(what: string, script: string): Promise<CgroupReport> {
    const { output } = await machine.run(what, script, RUN_MS);
    return parseReport<CgroupReport>(output);
  }

  function expectConfined(report: CgroupReport, parent: string): void {
    expect(report.error).toBeUndefined();
    expect(report.answer).toBe('hello, you');
    expect(report.tender).toMatch(new RegExp(`^0::${parent}/kerbside-tenders-\\d+-\\d+-\\d+/\\d+$`));
    expect(report.guest).toBe(report.tender);
    expect(report.limits).toMatchObject({ 'pids.max': '8', 'cpu.max': '150000 100000' });
    expect(Number(report.limits!['memory.max'])).toBeLessThan(32 << 20);
    expect(report.lines.map(({ msg }) => msg)).toEqual(['tenders have control groups']);
    expect(report.left).toEqual([]);
  }

  it('at the root of the hierarchy: limits hold, and nothing is left', async () => {
    const report = await run('at the root', command('required'));
    expectConfined(report, '');
    expect(report.broker).toBe('0::/');
    expect(report.forks).toBeGreaterThan(0);
    expect(report.forks).toBeLessThan(8);
    expect(Number(report.greedy)).toBeLessThan(64 << 20);
  });

  it('in a delegated subtree: the broker goes into a leaf, and comes back', async () => {
    const report = await run('delegated', `${DELEGATED}${inUnit(command('required', 'brief'))}\n${CLEAN}`);
    expectConfined(report, '/slice/unit');
    expect(report.broker).toMatch(/^0::\/slice\/unit\/kerbside-broker-\d+-\d+-\d+$/);
    expect(report.brokerAfter).toBe('0::/slice/unit');
  });

  it('in a subtree that is delegated to a user', async () => {
    const script = `${DELEGATED}cd /sys/fs/cgroup/slice/unit
chown 1000:1000 . cgroup.procs cgroup.subtree_control cgroup.threads
cd - >/dev/null
${inUnit(`setpriv --reuid 1000 --regid 1000 --clear-groups ${command('required', 'brief')}`)}
${CLEAN}`;
    expectConfined(await run('delegated to a user', script), '/slice/unit');
  });

  it('beside other processes in its group: the groups are in the one above', async () => {
    const script = `${DELEGATED}sh -c 'echo $$ >/sys/fs/cgroup/slice/unit/cgroup.procs; exec sleep 1000' &
other=$!
sleep 1
${inUnit(command('required', 'brief'))}
kill $other
${CLEAN}`;
    const report = await run('beside others', script);
    expectConfined(report, '/slice');
    expect(report.broker).toBe('0::/slice/unit');
  });

  it('without permission: one line says so, and it goes on; required does not start', async () => {
    const user = 'setpriv --reuid 1000 --regid 1000 --clear-groups';
    const open = await run('without permission', `${user} ${command('auto', 'brief')}`);
    expect(open).toMatchObject({ answer: 'hello, you', tender: '0::/', left: [] });
    expect(open.lines).toMatchObject([
      { msg: 'tenders have no control groups', reason: expect.stringMatching(/Delegate=yes$/) },
    ]);
    const refused = await run('required without permission', `${user} ${command('required', 'brief')}`);
    expect(refused.error).toMatchObject({ code: 8009, message: expect.stringContaining('--cgroups required') });
    expect(refused.lines).toEqual([]);
  });

  it('a killed broker takes its tenders along, and the next one removes its groups', async () => {
    const script = `${command('required', 'hold')} >/tmp/held &
held=$!
until grep -q ^REPORT /tmp/held; do sleep 0.2; done
tender=$(sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p' /tmp/held)
kill -STOP $tender
kill -KILL $held
for i in $(seq 100); do grep -q '^State:.[^ZX]' /proc/$tender/status 2>/dev/null || break; sleep 0.1; done
grep -q '^State:.[^ZX]' /proc/$tender/status 2>/dev/null && echo the tender lives
${command('required', 'brief')}`;
    const { output } = await machine.run('a killed broker', script.replace('set -e', ''), RUN_MS);
    expect(output).not.toContain('the tender lives');
    const report = parseReport<CgroupReport>(output);
    expect(report.lines.map(({ msg }) => msg)).toEqual([
      'tenders have control groups',
      'removed control groups of a dead broker',
    ]);
    expect(report.left).toEqual([]);
  });
});

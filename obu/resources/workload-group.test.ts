import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WorkloadGroup } from './workload-group.ts';

/** Folders and files as the kernel shows them; test/docker/neighbours.test.ts has the kernel's own. */
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'kerb-cgroup-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const group = (CgroupDriver: string, CgroupVersion: string) =>
  new WorkloadGroup({ stateHash: 'abc', info: { CgroupDriver, CgroupVersion }, memory: 1000 * 4096, root });
function put(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}
const get = (path: string) => readFileSync(join(root, path), 'utf8');

describe.each([
  ['cgroupfs', '1', '/kerbside-abc', 'memory/kerbside-abc/memory.limit_in_bytes', 'pids/kerbside-abc/C1/pids.events'],
  ['cgroupfs', '2', '/kerbside-abc', 'kerbside-abc/memory.max', 'kerbside-abc/C1/pids.events'],
  [
    'systemd',
    '2',
    'kerbside_abc.slice',
    'kerbside_abc.slice/memory.max',
    'kerbside_abc.slice/docker-C1.scope/pids.events',
  ],
])('with the driver %s and version %s', (driver, version, parent, limit, events) => {
  it('the limit is set as soon as there is a group, and again when somebody changed it', () => {
    const one = group(driver, version);
    expect(one.parent).toBe(parent);
    expect(one.limit()).toBe('');
    put(limit, 'max\n');
    expect(one.limit()).toBe('');
    expect(get(limit)).toBe('4096000');
    put(limit, '9223372036854771712\n');
    one.limit();
    expect(get(limit)).toBe('4096000');
    put(limit, '4063232\n'); // as a kernel with pages of 64 KiB rounds it
    one.limit();
    expect(get(limit)).toBe('4063232\n');
  });

  it('says how often processes were refused', () => {
    const one = group(driver, version);
    expect(one.refusedProcesses('C1')).toBe(0);
    put(events, 'max 12\n');
    expect(one.refusedProcesses('C1')).toBe(12);
  });
});

it('says how much its workloads wait for memory, and that it has run out, with version 2', () => {
  const one = group('cgroupfs', '2');
  expect(one.memoryPressure()).toBeUndefined();
  put('kerbside-abc/memory.pressure', 'some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=1.00\n');
  put('kerbside-abc/memory.events.local', 'low 0\nhigh 0\nmax 900\noom 0\noom_kill 3\n');
  expect(one.memoryPressure()).toBe(12.5);
  put('kerbside-abc/memory.events.local', 'max 900\noom 1\noom_kill 4\n');
  expect([one.memoryPressure(), one.memoryPressure()]).toEqual([100, 12.5]);
});

it('says that it has run out of memory with version 1, which says no more', () => {
  const one = group('cgroupfs', '1');
  put('memory/kerbside-abc/memory.oom_control', 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n');
  expect(one.memoryPressure()).toBeUndefined();
  put('memory/kerbside-abc/memory.oom_control', 'oom_kill_disable 0\nunder_oom 1\n');
  expect(one.memoryPressure()).toBe(100);
});

it('says why a limit cannot be set', () => {
  mkdirSync(join(root, 'kerbside-abc/memory.max'), { recursive: true });
  expect(group('cgroupfs', '2').limit()).toMatch(/EISDIR/);
  const elsewhere = new WorkloadGroup({ stateHash: 'abc', info: {}, memory: 1, root: undefined });
  expect(elsewhere.limit()).toBe('the engine is on another machine');
});

it('removes what is empty, wherever version 1 has it', () => {
  for (const one of ['memory/kerbside-abc', 'pids/kerbside-abc/C1', 'pids/kerbside-abc/C2/in', 'pids/other/C3'])
    mkdirSync(join(root, one), { recursive: true });
  // In the kernel's folders it is a process that keeps them.
  put('pids/kerbside-abc/C1/a-process', '');
  group('cgroupfs', '1').sweep();
  expect([existsSync(join(root, 'pids/kerbside-abc/C2')), existsSync(join(root, 'memory/kerbside-abc'))]).toEqual([
    ...[false, true],
  ]);
  group('cgroupfs', '1').remove();
  expect(existsSync(join(root, 'memory/kerbside-abc'))).toBe(false);
  expect(existsSync(join(root, 'pids/kerbside-abc/C1'))).toBe(true);
  expect(existsSync(join(root, 'pids/other/C3'))).toBe(true);
});

it.each(['1', '2'] as const)('reads what the kernel counts of a container, version %s', (version) => {
  const one = group('cgroupfs', version);
  expect([one.killedProcesses('C1'), one.cpuSeconds('C1')]).toEqual([0, undefined]);
  put('memory/kerbside-abc/C1/memory.oom_control', 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n');
  put('cpuacct/kerbside-abc/C1/cpuacct.usage', '1500000000\n');
  put('kerbside-abc/C1/memory.events', 'low 0\nmax 9\noom 3\noom_kill 2\n');
  put('kerbside-abc/C1/cpu.stat', 'usage_usec 1500000\nuser_usec 1\n');
  expect([one.killedProcesses('C1'), one.cpuSeconds('C1')]).toEqual([2, 1.5]);
});

import { expect, test } from 'vitest';
import { findOwnGroup } from './hierarchies.ts';

const V2 = '31 22 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate';
const V1 = `30 22 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
38 30 0:35 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`;
const V1_SELF = '8:pids:/\n4:memory:/a b\n3:cpuset:/\n1:cpu,cpuacct:/user.slice\n0::/user.slice\n';
const found = (folder: string, isRoot = false, mount = '/sys/fs/cgroup') => ({ version: 2, folder, isRoot, mount });

test('version 2: at the root, and below it', () => {
  expect(findOwnGroup('0::/\n', V2)).toEqual(found('/sys/fs/cgroup', true));
  expect(findOwnGroup('0::/system.slice/kerbside.service\n', V2)).toEqual(
    found('/sys/fs/cgroup/system.slice/kerbside.service'),
  );
});

test('version 2 in a container: a part of the hierarchy is mounted', () => {
  const mount = V2.replace(' / /sys', ' /docker/abc /sys');
  expect(findOwnGroup('0::/docker/abc/leaf\n', mount)).toEqual(found('/sys/fs/cgroup/leaf'));
  expect(findOwnGroup('0::/docker/abc\n', mount)).toEqual(found('/sys/fs/cgroup', true));
  expect(findOwnGroup('0::/docker/abcd\n', mount)).toBeUndefined();
});

test('version 1: each controller in a hierarchy of its own, also when version 2 is mounted beside it', () => {
  expect(findOwnGroup(V1_SELF, V1)).toEqual({
    version: 1,
    folders: new Map([
      ['pids', '/sys/fs/cgroup/pids'],
      ['memory', '/sys/fs/cgroup/memory/a b'],
      ['cpu', '/sys/fs/cgroup/cpu,cpuacct/user.slice'],
    ]),
  });
});

test('version 1: a controller that is not mounted is left out', () => {
  const group = findOwnGroup(V1_SELF, V1.split('\n').slice(2).join('\n'));
  expect(group).toMatchObject({ version: 1 });
  expect(group?.version === 1 && [...group.folders.keys()]).toEqual(['pids', 'memory']);
});

test('a mount point may hold a blank', () => {
  expect(findOwnGroup('0::/x\n', V2.replace('/sys/fs/cgroup', '/my\\040groups'))).toEqual(
    found('/my groups/x', false, '/my groups'),
  );
});

test.each([
  ['nothing is mounted', '0::/x\n', ''],
  ['it is outside of the namespace', '0::/../x\n', V2],
  ['it is not said which group', '', V2],
  ['what is said is nothing', 'x\n::\n1:memory\n', `${V2}\nx y\n - \n`],
])('none when %s', (_what, self, mounts) => {
  expect(findOwnGroup(self, mounts)).toBeUndefined();
});

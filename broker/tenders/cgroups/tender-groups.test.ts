import { expect, test } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import type { GroupTree } from './group-tree.ts';
import { TenderGroups } from './tender-groups.ts';

// Real groups: test/tender/cgroups.test.ts. Here is a tree that was removed in the meantime.

const removed: GroupTree = {
  version: 2,
  branches: [{ folder: '/none/kerbside-tenders-1-2-3', controllers: ['memory', 'pids'], each: true }],
  ...{ path: '/none', notes: [], leftovers: [], remove: async () => {} },
};

function groupsOf(required: boolean) {
  const warnings: string[] = [];
  const log = { warn: (_fields: unknown, message: string) => warnings.push(message) } as unknown as Logger;
  return { groups: new TenderGroups(removed, required, log), warnings };
}

test('a tender that cannot be put into a group runs without one, and that is said once', async () => {
  const { groups, warnings } = groupsOf(false);
  for (let i = 0; i < 3; i++) {
    const group = groups.take();
    await group.join(process.pid);
    await group.limitMemory(1 << 20);
    group.free();
  }
  await groups.close();
  expect(warnings).toEqual(['a tender runs without a control group']);
});

test('where groups are required it is an error', async () => {
  const { groups, warnings } = groupsOf(true);
  const group = groups.take();
  await expect(group.join(process.pid)).rejects.toMatchObject({ code: ErrorCode.CgroupsUnavailable });
  await expect(group.limitMemory(1 << 20)).rejects.toMatchObject({ code: ErrorCode.CgroupsUnavailable });
  group.free();
  await groups.close();
  expect(warnings).toEqual([]);
});

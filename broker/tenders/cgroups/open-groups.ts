import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { ErrorCode, KerbError, messageOf } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import { ownOwner } from './group-files.ts';
import { isDenied, makeTree } from './group-tree.ts';
import { findOwnGroup } from './hierarchies.ts';
import { TenderGroups } from './tender-groups.ts';

/** auto: control groups where they can be made; required: no start without them. */
export const CGROUP_MODES = ['auto', 'required', 'off'] as const;
export type CgroupMode = (typeof CGROUP_MODES)[number];

const ADVICE = 'run the broker as root, or as a service with Delegate=yes';

/**
 * Makes the control groups of this broker's tenders below or beside the group that it is in itself, and removes those of
 * brokers that have ended. Logs one line: where they are, or why there are none.
 * @returns undefined for none
 * @throws KerbError CgroupsUnavailable when they are required
 */
export async function openTenderGroups(
  mode: CgroupMode,
  maxTenders: number,
  log: Logger,
): Promise<TenderGroups | undefined> {
  if (mode === 'off') return undefined;
  try {
    const own = findOwnGroup(
      await readFile('/proc/self/cgroup', 'utf8'),
      await readFile('/proc/self/mountinfo', 'utf8'),
    );
    if (own === undefined)
      throw new Error('no hierarchy with memory, pids or cpu is mounted where this process sees it');
    const tree = await makeTree(own, { owner: await ownOwner(), maxTenders, processors: availableParallelism() });
    const controllers = tree.branches.flatMap((branch) => branch.controllers).join(', ');
    const reason = [`limited: ${controllers}`, ...tree.notes].join('; ');
    log.info({ path: tree.path, version: tree.version, reason }, 'tenders have control groups');
    if (tree.leftovers.length > 0) {
      log.info(
        { count: tree.leftovers.length, path: tree.leftovers.join(' ') },
        'removed control groups of a dead broker',
      );
    }
    return new TenderGroups(tree, mode === 'required', log);
  } catch (cause) {
    const reason = `${messageOf(cause)}${isDenied(cause) ? `; ${ADVICE}` : ''}`;
    if (mode === 'required') {
      const message = `no control groups for tenders (--cgroups required): ${reason}`;
      throw new KerbError(ErrorCode.CgroupsUnavailable, message, {}, { cause });
    }
    log.warn({ reason }, 'tenders have no control groups');
    return undefined;
  }
}

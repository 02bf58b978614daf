import { beforeEach, expect, it } from 'vitest';
import { createLog } from '../../shared/base/log.ts';
import { workloadOf } from '../../test/support/workload.ts';
import type { Workload } from '../manifest/workload.ts';
import type { Desired } from '../planner/state.ts';
import { desiredOf } from './container-spec.ts';
import { ManifestFollower } from './manifest-follower.ts';

/** A workload that may offload this task. */
const granted = (task: string, extra: Partial<Workload> = {}): Workload =>
  workloadOf({
    name: 'app',
    grants: { signals: [], can: [], cameras: [], offload: { tasks: [task], maxBudgetMs: 100 } },
    ...extra,
  });

let calls: string[];
let apply: (wanted: readonly Desired[]) => void;
let interfacesFail: Error | undefined;
let holdTo: (running: Workload) => Workload | undefined;
let lines: string[];
let follower: ManifestFollower;
beforeEach(() => {
  calls = [];
  lines = [];
  interfacesFail = undefined;
  apply = () => {};
  follower = new ManifestFollower({
    desired: {
      follow: (use) => {
        apply = use;
        return () => {
          apply = () => {};
        };
      },
    },
    gateways: { follow: (workloads) => calls.push(`gateways ${workloads.map(({ name }) => name)}`) },
    interfaces: {
      follow: async (wanted) => {
        calls.push('interfaces');
        holdTo = wanted;
        if (interfacesFail !== undefined) throw interfacesFail;
      },
    },
    reconciler: { setDesired: (desired) => calls.push(`reconciler ${desired.map(({ workload }) => workload.name)}`) },
    log: createLog('test', { write: (line) => void lines.push(line) }),
  });
});

it('takes grants away before it plans', () => {
  follower.start();
  apply([desiredOf(granted('new'))]);
  expect(calls).toEqual(['gateways app', 'interfaces', 'reconciler app']);
});

it('holds a running container to the grants of now, to none when it is gone, and to those of before while it waits', () => {
  follower.start();
  const running = granted('old');
  apply([desiredOf(granted('new'))]);
  expect(holdTo(running)?.grants.offload?.tasks).toEqual(['new']);
  apply([]);
  expect(holdTo(running)?.grants.offload).toBeUndefined();
  // Its container has to be another one, and that waits until the vehicle is parked.
  const update = { ...running.update, when: 'parked' as const };
  apply([desiredOf(granted('new', { image: 'app:2', update }))]);
  expect(holdTo(running)).toBeUndefined();
});

it('plans also when interfaces cannot follow, and says so', async () => {
  interfacesFail = new Error('no netlink');
  follower.start();
  apply([desiredOf(granted('new'))]);
  await expect.poll(() => lines.map((line) => JSON.parse(line))).toMatchObject([{ level: 'error', err: 'no netlink' }]);
  expect(calls.at(-1)).toBe('reconciler app');
});

it('follows nothing before it is started and after it is stopped, and only once', () => {
  apply([desiredOf(granted('new'))]);
  expect(calls).toEqual([]);
  follower.start();
  follower.start();
  follower.stop();
  apply([desiredOf(granted('new'))]);
  expect(calls).toEqual([]);
});

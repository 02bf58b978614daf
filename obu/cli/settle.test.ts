import { expect, it } from 'vitest';
import type { ObuStatus, WorkloadStatus } from '../../shared/api/status.ts';
import { isWell, untilSettled } from './settle.ts';

const one = (name: string, state: string, detail = '', update?: WorkloadStatus['update']): WorkloadStatus => ({
  ...{ name, image: 'x:1', priority: 0, state, detail, reason: 'so', restarts: 0, lastLine: '' },
  ...(update && { update }),
});

/** Waits through these looks at the OBU, the last of them again and again. */
async function settle(looks: readonly (readonly WorkloadStatus[])[], timeoutMs = 60_000, signal?: AbortSignal) {
  const told: string[] = [];
  let look = 0;
  const workloads = await untilSettled({
    status: async () => ({ workloads: looks[Math.min(look++, looks.length - 1)] }) as unknown as ObuStatus,
    onState: ({ name, state, detail }) => told.push(`${name} ${state} ${detail}`),
    ...{ timeoutMs, signal: signal ?? new AbortController().signal },
  });
  return { told, look, wellOnes: workloads.filter(isWell).map(({ name }) => name) };
}

it('waits as long as a workload is on its way, and tells each state once', async () => {
  const rest = one('b', 'Failed', 'ImageMissing');
  expect(
    await settle([
      [one('a', 'Stopping'), rest],
      [one('a', 'Pending', 'Starting'), rest],
      [one('a', 'Pending', 'Starting'), rest],
      [one('a', 'Running', 'Starting'), rest],
      [one('a', 'Running', 'Ok'), rest],
      [one('a', 'Failed', 'ExitCode')],
    ]),
  ).toEqual({
    told: ['a Stopping ', 'b Failed ImageMissing', 'a Pending Starting', 'a Running Starting', 'a Running Ok'],
    look: 5,
    wellOnes: ['a'],
  });
});

it('does not wait for what may last: a back-off, no room, a dependency that is down', async () => {
  const looks = [
    [one('a', 'Pending', 'BackingOff'), one('b', 'Frozen', 'a'), one('c', 'Pending', 'WaitingForDependency')],
  ];
  expect(await settle(looks)).toMatchObject({ look: 1, wellOnes: [] });
});

it('waits for a dependency that is on its way', async () => {
  const waiting = one('b', 'Pending', 'WaitingForDependency');
  const looks = [
    [one('a', 'Running', 'Starting'), waiting],
    [one('a', 'Succeeded'), one('b', 'Running', 'Ok')],
  ];
  expect(await settle(looks)).toMatchObject({ look: 2, wellOnes: ['a', 'b'] });
});

it('waits for a hand-over, is not content with a rollback, and leaves an update that waits alone', async () => {
  const over = one('a', 'Running', 'Ok', 'handing-over');
  expect(await settle([[over], [over], [one('a', 'Running', 'Ok')]])).toMatchObject({ look: 3, wellOnes: ['a'] });
  const back = one('a', 'Running', 'Ok', 'rolled-back');
  expect(await settle([[over], [back]])).toMatchObject({ look: 2, wellOnes: [] });
  expect(await settle([[one('a', 'Running', 'Ok', 'waiting')]])).toMatchObject({ look: 1, wellOnes: ['a'] });
});

it('gives up when its time is over or it is interrupted', async () => {
  const moving = [[one('a', 'Pending', 'Starting')]];
  expect(await settle(moving, 0)).toMatchObject({ wellOnes: [] });
  expect(await settle(moving, 60_000, AbortSignal.timeout(20))).toMatchObject({ wellOnes: [] });
});

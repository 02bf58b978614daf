import { expect, it } from 'vitest';
import type { ObuStatus, WorkloadStatus } from '../../shared/api/status.ts';
import { isDisplaced, isFrozenByPerson, isWell } from '../../shared/api/workload-state.ts';
import { notSettled, wellLines } from './apply-command.ts';
import { isMoving, type Settled, untilSettled } from './settle.ts';

type More = Pick<WorkloadStatus, 'update' | 'isOld' | 'displacedBy' | 'dueMs'>;
const one = (name: string, state: string, detail = '', more: More = {}): WorkloadStatus => ({
  name,
  image: 'x:1',
  priority: 0,
  state,
  detail,
  reason: 'so',
  restarts: 0,
  lastLine: '',
  ...more,
});

/** Waits through these looks at the OBU, the last of them again and again. */
async function settle(
  looks: readonly (readonly WorkloadStatus[])[],
  timeoutMs = 60_000,
  signal?: AbortSignal,
  loaded?: ReadonlySet<string>,
) {
  const told: string[] = [];
  let look = 0;
  const { workloads, end } = await untilSettled({
    status: async () => ({ workloads: looks[Math.min(look++, looks.length - 1)] }) as unknown as ObuStatus,
    onState: ({ name, state, detail }) => told.push(`${name} ${state} ${detail}`),
    timeoutMs,
    loaded,
    signal: signal ?? new AbortController().signal,
  });
  return { told, look, end, wellOnes: workloads.filter(isWell).map(({ name }) => name) };
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
    end: 'settled',
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
  const over = one('a', 'Running', 'Ok', { update: 'handing-over' });
  expect(await settle([[over], [over], [one('a', 'Running', 'Ok')]])).toMatchObject({ look: 3, wellOnes: ['a'] });
  const back = one('a', 'Running', 'Ok', { update: 'rolled-back' });
  expect(await settle([[over], [back]])).toMatchObject({ look: 2, wellOnes: [] });
  expect(await settle([[one('a', 'Running', 'Ok', { update: 'waiting' })]])).toMatchObject({
    look: 1,
    wellOnes: ['a'],
  });
});

it('waits for what is due soon: the first back-offs, and room that has to last', async () => {
  const soon = [one('a', 'Pending', 'BackingOff', { dueMs: 500 }), one('b', 'Frozen', 'c', { dueMs: 4999 })];
  const later = [one('a', 'Pending', 'CrashLoop', { dueMs: 8000 }), one('b', 'Running', 'Ok')];
  expect(await settle([soon, soon, later])).toMatchObject({ look: 3, end: 'settled', wellOnes: ['b'] });
  expect(await settle([[one('a', 'Pending', 'BackingOff', { dueMs: 5001 })]])).toMatchObject({ look: 1 });
});

it('does not take an image for missing that has just been loaded', async () => {
  const missing = [one('a', 'Failed', 'ImageMissing')];
  const looks = [missing, missing, [one('a', 'Running', 'Ok')]];
  expect(await settle(looks, 60_000, undefined, new Set(['x:1']))).toMatchObject({ look: 3, wellOnes: ['a'] });
  expect(await settle(looks, 60_000, undefined, new Set(['y:1']))).toMatchObject({ look: 1, wellOnes: [] });
});

it('gives up when its time is over or it is interrupted, and says which', async () => {
  const moving = [[one('a', 'Pending', 'Starting')]];
  expect(await settle(moving, 0)).toMatchObject({ end: 'timed-out', wellOnes: [] });
  expect(await settle(moving, 60_000, AbortSignal.timeout(20))).toMatchObject({ end: 'interrupted', wellOnes: [] });
});

it('what is displaced by those of higher priority is as the manifest says', () => {
  const displaced = one('a', 'Pending', 'NoCapacity', { displacedBy: ['b'] });
  expect([isDisplaced(displaced), isWell(displaced), isMoving(displaced)]).toEqual([true, false, false]);
  expect(isDisplaced(one('a', 'Pending', 'NoCapacity'))).toBe(false);
  expect(wellLines([displaced, one('b', 'Running', 'Ok')])).toEqual([
    expect.stringMatching(/^1 of 2 workloads is ready/),
    expect.stringMatching(/^a makes room for b: Pending\(NoCapacity\): so$/),
  ]);
});

it('what a person froze is settled, and is named apart; what was paused from outside is not', async () => {
  const frozen = one('a', 'Frozen', 'person');
  expect([isFrozenByPerson(frozen), isWell(frozen), isMoving(frozen)]).toEqual([true, false, false]);
  expect(isFrozenByPerson(one('a', 'Frozen', 'outside'))).toBe(false);
  expect(isFrozenByPerson(one('a', 'Frozen', 'b'))).toBe(false);
  expect(await settle([[frozen]])).toMatchObject({ look: 1, end: 'settled' });
  expect(wellLines([frozen, one('b', 'Running', 'Ok')])).toEqual([
    expect.stringMatching(/^1 of 2 workloads is ready, and 1 is frozen/),
    expect.stringMatching(/^a is frozen by a person: so; kerb thaw a /),
  ]);
  const displaced = one('c', 'Pending', 'NoCapacity', { displacedBy: ['b'] });
  expect(wellLines([frozen, one('b', 'Running', 'Ok'), displaced])).toHaveLength(3);
});

it('counts nothing that was so before the engine stopped answering, and waits for what is so now', async () => {
  const old = { isOld: true } as const;
  expect(isWell(one('a', 'Running', 'Ok', old))).toBe(false);
  expect(isDisplaced(one('a', 'Pending', 'NoCapacity', { ...old, displacedBy: ['b'] }))).toBe(false);
  expect(isFrozenByPerson(one('a', 'Frozen', 'person', old))).toBe(false);
  const last = [one('a', 'Running', 'Ok', old)];
  expect(await settle([last, last, [one('a', 'Running', 'Ok')]])).toMatchObject({ look: 3, wellOnes: ['a'] });
  expect(await settle([last], 0)).toMatchObject({ end: 'timed-out', wellOnes: [] });
  expect(notSettled({ workloads: last, end: 'settled' }, last, 1000, 3).message).toContain('a Running(Ok) before');
});

it('says how it ended in words that fit the number', () => {
  expect(wellLines([one('a', 'Running', 'Ok')])).toEqual(['the workload is ready']);
  expect(wellLines([one('a', 'Succeeded'), one('b', 'Running', 'Ok')])).toEqual(['all 2 workloads are ready']);
  const [failed, well] = [one('a', 'Failed', 'ExitCode'), one('b', 'Running', 'Ok')];
  const messageOf = (end: Settled['end']) =>
    notSettled({ workloads: [failed, well], end }, [failed], 120_000, 3).message;
  expect(messageOf('settled')).toMatch(/1 of 2 workloads are not ready: a Failed\(ExitCode\)$/);
  expect(messageOf('timed-out')).toMatch(/timed out \(--timeout 120s\)/);
  expect(messageOf('interrupted')).toMatch(/interrupted/);
});

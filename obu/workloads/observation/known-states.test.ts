import { expect, it } from 'vitest';
import { isWell } from '../../../shared/api/workload-state.ts';
import { ErrorCode } from '../../../shared/base/errors.ts';
import { workloadOf } from '../../../test/support/workload.ts';
import type { WorkloadState } from '../../planner/state.ts';
import { KnownStates, mustBeWanted } from './known-states.ts';

const running: WorkloadState = { state: 'Running', detail: 'Ok', reason: 'its container runs' };
const missing: WorkloadState = { state: 'Failed', detail: 'ImageMissing', reason: 'not here' };
const one = (name: string, configHash = '1') => ({ workload: workloadOf({ name }), configHash });

function known(states: Record<string, WorkloadState>): KnownStates {
  const all = new KnownStates();
  all.replace(new Map(Object.entries(states)));
  return all;
}

it('a state says that it is an old one while the engine does not answer, and is the same word', () => {
  const states = known({ a: running });
  expect(states.of('a', true)).toEqual(running);
  const old = states.of('a', false);
  expect(old).toMatchObject({ state: 'Running', detail: 'Ok', isOld: true });
  expect([isWell(running), isWell(old)]).toEqual([true, false]);
  expect(old.reason).not.toBe(running.reason);
  expect(states.of('nobody', false).state).toBe('Pending');
});

it('what is wanted in another way is not known any more, nor what lacked an image', () => {
  const states = known({ same: running, other: running, missing });
  const before = [one('same'), one('other'), one('missing')];
  states.follow(before, [one('same'), one('other', '2'), one('missing'), one('fresh')]);
  expect(['same', 'other', 'missing', 'fresh'].map((name) => states.of(name, true).state)).toEqual([
    ...['Running', 'Pending', 'Pending', 'Pending'],
  ]);
});

it('who is not in the manifest is told with who is', () => {
  expect(() => mustBeWanted('a', [one('a')])).not.toThrow();
  expect(() => mustBeWanted('x', [one('a')])).toThrow(expect.objectContaining({ code: ErrorCode.UnknownWorkload }));
});

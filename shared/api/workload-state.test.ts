import { expect, it } from 'vitest';
import {
  isDisplaced,
  isFrozenByPerson,
  isWell,
  type SeenState,
  speaksForManifest,
  stateWord,
} from './workload-state.ts';

const ok: SeenState = { state: 'Running', detail: 'Ok' };
const rules = { isWell, isDisplaced, isFrozenByPerson, speaksForManifest };
const said = (seen: SeenState) => Object.entries(rules).flatMap(([name, rule]) => (rule(seen) ? [name] : []));

it.each<[string, SeenState, string[]]>([
  ['runs and is not ill', ok, ['isWell', 'speaksForManifest']],
  ['has done its work', { state: 'Succeeded', detail: '' }, ['isWell', 'speaksForManifest']],
  ['is ill', { ...ok, detail: 'Unhealthy' }, []],
  ['is starting', { state: 'Pending', detail: 'Starting' }, []],
  ['has failed', { state: 'Failed', detail: 'ExitCode' }, []],
  ['was well before the engine stopped answering', { ...ok, isOld: true }, []],
  ['hands over to its update', { ...ok, update: 'handing-over' }, []],
  ['was rolled back', { ...ok, update: 'rolled-back' }, []],
  ['waits with its update', { ...ok, update: 'waiting' }, ['isWell']],
  [
    'is displaced',
    { state: 'Pending', detail: 'NoCapacity', displacedBy: ['b'] },
    ['isDisplaced', 'speaksForManifest'],
  ],
  ['has no room, and nobody has it', { state: 'Pending', detail: 'NoCapacity', displacedBy: [] }, []],
  ['was displaced', { state: 'Pending', detail: 'NoCapacity', displacedBy: ['b'], isOld: true }, []],
  ['was frozen by a person', { state: 'Frozen', detail: 'person' }, ['isFrozenByPerson']],
  ['was frozen from outside', { state: 'Frozen', detail: 'outside' }, []],
])('a workload that %s', (_, seen, rulesThatHold) => {
  expect(said(seen)).toEqual(rulesThatHold);
});

it('the word of a state has brackets only around something', () => {
  expect([stateWord(ok), stateWord({ state: 'Succeeded', detail: '' })]).toEqual(['Running(Ok)', 'Succeeded']);
});

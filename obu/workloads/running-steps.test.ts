import { expect, it } from 'vitest';
import { container, desired } from '../../test/support/planner-scene.ts';
import type { Action } from '../planner/state.ts';
import { RunningSteps } from './running-steps.ts';

const start = (name: string): Action => {
  return { step: 'create-and-start', version: { ...desired(name), imageId: 'i' }, gateway: name, why: '' };
};
const stop = (name: string): Action => ({ step: 'stop', container: container(name), why: '' });

it('starts are few at a time, and what only waits for an end takes no place from them', async () => {
  const hand = new RunningSteps();
  const ends: (() => void)[] = [];
  const begin = (step: Action) =>
    hand.begin(
      step,
      () => new Promise<void>((resolve) => ends.push(resolve)),
      () => {},
    );
  for (let i = 0; i < 100; i++) begin(stop(`s${i}`));
  let begun = 0;
  while (hand.mayBegin(start(`a${begun}`), 0)) begin(start(`a${begun++}`));
  expect(begun).toBe(12);
  expect(hand.mayBegin({ step: 'remove', container: container('x'), why: '' }, 0)).toBe(true);
  expect(hand.all).toHaveLength(112);
  ends.at(-1)!();
  await new Promise((resolve) => setImmediate(resolve));
  expect(hand.mayBegin(start('next'), 0)).toBe(true);
  for (const end of ends) end();
  await hand.settled();
  expect(hand.all).toEqual([]);
});

it('what was refused waits longer each time, and nothing else does', () => {
  const hand = new RunningSteps();
  expect(hand.refused(stop('a'), 1000)).toBe(1000);
  expect([hand.mayBegin(stop('a'), 1999), hand.mayBegin(stop('b'), 1999), hand.mayBegin(start('a'), 1999)]).toEqual([
    ...[false, true, true],
  ]);
  expect(hand.nextTryMs([stop('a'), stop('b')], 1500)).toBe(2000);
  expect(hand.mayBegin(stop('a'), 2000)).toBe(true);
  for (let i = 0; i < 20; i++) hand.refused(stop('a'), 2000);
  expect(hand.refused(stop('a'), 2000)).toBe(30_000);
  hand.succeeded(stop('a'));
  expect(hand.hasRefused).toBe(false);
  // What nobody wants any more is forgotten.
  hand.refused(stop('gone'), 0);
  expect(hand.nextTryMs([], 5000)).toBe(Number.POSITIVE_INFINITY);
  expect(hand.hasRefused).toBe(false);
});

import { expect, test } from 'vitest';
import { RecentErrors } from './recent-errors.ts';

test('keeps the newest, and the same error once', () => {
  const errors = new RecentErrors(3);
  for (const message of ['one', 'two', 'three', 'four', 'three']) errors.add('b', 2, message);
  expect(errors.list().map(({ message }) => message)).toEqual(['two', 'four', 'three']);
  expect(errors.list()[0]!.time).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
});

test('does not let one source push the others out', () => {
  const errors = new RecentErrors(4);
  errors.add('quiet', 1, 'once');
  for (let i = 0; i < 100; i++) errors.add('loud', 2, `number ${i}`);
  errors.add('other', 3, 'late');
  expect(errors.list().map(({ message }) => message)).toEqual(['once', 'number 98', 'number 99', 'late']);
});

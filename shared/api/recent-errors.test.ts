import { expect, test } from 'vitest';
import { RecentErrors } from './recent-errors.ts';

test('keeps the newest, and the same error once', () => {
  const errors = new RecentErrors(3);
  errors.add('a', 1, 'one');
  for (const message of ['two', 'three', 'four', 'three']) errors.add('b', 2, message);
  expect(errors.list().map(({ message }) => message)).toEqual(['two', 'four', 'three']);
  expect(errors.list()[0]!.time).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
});

import { expect, test } from 'vitest';
import { BoundedLabels } from './bounded-labels.ts';

function labels(most: number) {
  const gone: string[] = [];
  const bounded = new BoundedLabels<object>(
    most,
    () => ({}),
    ({ labels: [first] }) => gone.push(first),
  );
  const use = (name: string, times = 1) => {
    let last = '';
    for (let i = 0; i < times; i++) [last] = bounded.use(name, 'echo').labels as [string, string];
    return last;
  };
  return { bounded, use, gone };
}

test('the first ones have labels of their own, the others share one', () => {
  const { use, bounded } = labels(2);
  expect([use('a'), use('b'), use('c'), use('d'), use('a')]).toEqual(['a', 'b', 'other', 'other', 'a']);
  expect(bounded.use('c', 'echo')).toBe(bounded.use('d', 'other task'));
  expect(bounded.labelsOf('b', 'echo')).toEqual(['b', 'echo']);
  expect(bounded.labelsOf('unknown', 'echo')).toEqual(['other', 'other']);
});

test('one that is clearly busier takes the place of the least busy', () => {
  const { use, bounded, gone } = labels(2);
  use('a', 100);
  use('b', 10);
  use('c', 21);
  bounded.settle();
  expect(gone).toEqual(['b']);
  expect([use('a'), use('b'), use('c')]).toEqual(['a', 'other', 'c']);
});

test('one that is a little busier does not, so that series do not come and go', () => {
  const { use, bounded, gone } = labels(1);
  use('a', 10);
  use('b', 19);
  bounded.settle();
  expect(gone).toEqual([]);
  expect(use('b')).toBe('other');
});

test('what was busy long ago makes room', () => {
  const { use, bounded, gone } = labels(1);
  use('a', 1000);
  for (let i = 0; i < 10; i++) bounded.settle();
  use('b', 1);
  bounded.settle();
  expect(gone).toEqual(['a']);
  expect(use('b')).toBe('b');
});

test('a flood of names is bounded, and others are shown again afterwards', () => {
  const { use, bounded } = labels(2);
  for (let i = 0; i < 5000; i++) use(`flood-${i}`);
  expect(use('late', 50)).toBe('other');
  bounded.settle();
  use('late', 50);
  bounded.settle();
  expect(use('late')).toBe('late');
});

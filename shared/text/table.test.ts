import { expect, it } from 'vitest';
import { table } from './table.ts';

it('table pads every column but the last', () => {
  const rows = [
    ['a', 'bb'],
    ['ccc', 'd'],
  ];
  expect(table(rows)).toEqual(['a    bb', 'ccc  d']);
});

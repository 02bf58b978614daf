import { expect, it } from 'vitest';
import { compareVersions } from './version-order.ts';

it('is that of Semantic Versioning', () => {
  // The example of clause 11.4.
  const ordered = [
    '1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta',
    '1.0.0-beta.2',
    '1.0.0-beta.11',
    '1.0.0-rc.1',
    '1.0.0',
    '1.0.1',
    '1.2.0',
    '1.10.0',
    '2.0.0',
  ];
  for (const [i, a] of ordered.entries()) {
    for (const [j, b] of ordered.entries()) expect(Math.sign(compareVersions(a, b))).toBe(Math.sign(i - j));
  }
});

it.each([
  ['1', '2', -1],
  ['9', '10', -1],
  ['1', '1.0', -1],
  ['v1.2', '1.2', 0],
  ['1.2+a', '1.2+b', 0],
  ['2024a', '2024b', -1],
  ['1.99999999999999999999', '1.100000000000000000000', -1],
  ['1', 'a', -1],
  ['1.0-', '1.0', -1],
])('takes versions of other kinds: %s and %s', (a, b, order) => {
  expect(Math.sign(compareVersions(a, b))).toBe(order);
  expect(Math.sign(compareVersions(b, a))).toBe(0 - order);
});

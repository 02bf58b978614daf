import { expect, test } from 'vitest';
import { quoted } from './quoted.ts';

test('what a terminal would obey or not show is escaped, the rest is left', () => {
  expect(quoted('straße "a"')).toBe('"straße \\"a\\""');
  expect(quoted('a\u007fb\u0085c\u001b[2J\n\u2028\u202e')).toBe('"a\\u007fb\\u0085c\\u001b[2J\\n\\u2028\\u202e"');
  expect(JSON.parse(quoted('a\u007f\u009b\u2066'))).toBe('a\u007f\u009b\u2066');
});

test('it is cut off, also between the halves of a character', () => {
  expect(quoted('x'.repeat(101))).toBe(`"${'x'.repeat(100)}"`);
  expect(quoted('ab', 1)).toBe('"a"');
  // Half of a pair is no text: JSON escapes it.
  expect(quoted('😀', 1)).toBe('"\\ud83d"');
});

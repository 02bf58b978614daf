import { expect, test } from 'vitest';
import { commonVersion, greetingFrom, V2E_VERSIONS } from './greeting.ts';

test('a client that does not greet is of version 1', () => {
  for (const auth of [undefined, null, {}, { token: 'x' }])
    expect(greetingFrom(auth)).toEqual({ versions: [1], features: [] });
});

test('a greeting is read as it is, unknown features included', () => {
  const greeting = { versions: [2, 7], features: ['receipt', 'from-the-future'] };
  expect(greetingFrom(greeting)).toEqual(greeting);
  expect(greetingFrom({ versions: [2] })).toEqual({ versions: [2], features: [] });
});

test.each([
  { versions: [] },
  { versions: 2 },
  { versions: ['2'] },
  { versions: [0] },
  { versions: [1.5] },
  { versions: Array(65).fill(1) },
  { versions: [2], features: 'receipt' },
  { versions: [2], features: [7] },
  { versions: [2], features: [''] },
  { versions: [2], features: ['x'.repeat(33)] },
  { versions: [2], features: Array(65).fill('x') },
])('%j is refused', (auth) => {
  expect(() => greetingFrom(auth)).toThrow(/must be a list/);
});

test('both ends speak the highest version that both know', () => {
  expect(commonVersion([1])).toBe(1);
  expect(commonVersion([1, 2, 3])).toBe(2);
  expect(commonVersion([3])).toBeUndefined();
  expect(commonVersion([...V2E_VERSIONS].reverse())).toBe(Math.max(...V2E_VERSIONS));
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matchesAny, matchesName } from './name-pattern.ts';

describe('a pattern of names', () => {
  it.each([
    ['acme', 'acme', true],
    ['acme', 'acme-2', false],
    ['acme-*', 'acme-', true],
    ['acme-*', 'acme-filter', true],
    ['acme-*', 'acm', false],
    ['*', 'whatever it is', true],
    ['*', '', true],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['*-filter', 'dashcam-filter', true],
    ['*-filter', 'dashcam-filters', false],
    ['a*b*c', 'a-b-b-c', true],
    ['a*bc*c', 'abc', false],
    ['a**b', 'ab', true],
    ['ACME', 'acme', false],
    ['a.c', 'abc', false],
  ])('%s and %s: %s', (pattern, name, expected) => {
    expect(matchesName(pattern, name)).toBe(expected);
  });

  it('says the same as a regular expression', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 });
    const name = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 10 });
    fc.assert(
      fc.property(text, name, (pattern, of) => {
        expect(matchesName(pattern, of)).toBe(new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(of));
      }),
    );
  });

  it('costs little whatever it is made of', () => {
    expect(matchesName(`${'a*'.repeat(500)}b`, 'a'.repeat(5000))).toBe(false);
    expect(matchesAny(['x', 'a*'], 'ab')).toBe(true);
    expect(matchesAny([], 'ab')).toBe(false);
  });
});

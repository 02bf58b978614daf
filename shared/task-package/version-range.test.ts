import { expect, test } from 'vitest';
import { compareVersions, fitsRange, isVersionRange } from './version-range.ts';

test.each<[range: string, fits: string[], not: string[]]>([
  ['', ['1', '0.0.1', 'nightly'], ['1.0.0-rc.1']],
  ['*', ['3.2.1', 'nightly'], ['1.0.0-rc.1']],
  ['1.2.3', ['1.2.3'], ['1.2.4', '1.2', '1.2.3-rc.1']],
  ['nightly', ['nightly'], ['nightly2', '1.0.0']],
  ['^1', ['1', '1.0.0', '1.9.9', 'v1.2.0'], ['0.9.9', '2.0.0', '1.2.0-rc.1', 'nightly']],
  ['^1.2', ['1.2.0', '1.3.0'], ['1.1.9', '2.0.0']],
  ['^0.2', ['0.2.0', '0.2.7'], ['0.3.0', '0.1.0', '1.2.0']],
  ['^0.2.3', ['0.2.3', '0.2.4'], ['0.2.2', '0.3.0']],
  ['^0.0.3', ['0.0.3'], ['0.0.4', '0.1.0']],
  ['^0', ['0.0.1', '0.9.0'], ['1.0.0']],
  ['~1', ['1.0.0', '1.9.0'], ['2.0.0']],
  ['~1.2', ['1.2.0', '1.2.9'], ['1.3.0', '1.1.9']],
  ['~1.2.3', ['1.2.3', '1.2.4'], ['1.2.2', '1.3.0']],
  ['>=1.2', ['1.2.0', '7.0.0'], ['1.1.9']],
  ['1.x', ['1.0.0', '1.5.0'], ['2.0.0']],
  ['1.2.*', ['1.2.9'], ['1.3.0']],
  ['1.0.0-rc.1', ['1.0.0-rc.1'], ['1.0.0', '1.0.0-rc.2']],
])('"%s" takes %j and not %j', (range, fits, not) => {
  expect(isVersionRange(range)).toBe(true);
  expect(fits.filter((version) => !fitsRange(version, range))).toEqual([]);
  expect(not.filter((version) => fitsRange(version, range))).toEqual([]);
});

test.each(['^', '^x', '>=', '^1.2.3.4', '> 1', 'a b', '^1 || ^2', '-1', 'x'.repeat(65)])('"%s" is no range', (text) => {
  expect(isVersionRange(text)).toBe(false);
  expect(fitsRange('1.2.3', text)).toBe(false);
});

test('versions in their order', () => {
  const sorted = ['nightly', 'odd', '0.9', '1.0.0-alpha', '1.0.0-alpha.1', '1.0.0-alpha.beta', '1.0.0-rc.2'];
  const all = [...sorted, '1.0.0-rc.11', '1', '1.0.1', '1.10.0', '2.0.0'];
  expect([...all].reverse().sort(compareVersions)).toEqual(all);
});

import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import { wildcardMatcher } from './wildcards.ts';

const all = [
  'Vehicle.Cabin.Sunroof.Position',
  'Vehicle.Cabin.Sunroof.Shade.Position',
  'Vehicle.Cabin.Sunroof.Shade.Switch',
  'Vehicle.Cabin.Sunroof.Switch',
  'Vehicle.Speed',
  'Vehicle.SpeedLimit.Value',
];

describe('a pattern', () => {
  // The table of Kuksa's doc/wildcard_matching.md, and its limits.
  it.each<[string, number[]]>([
    ['', [0, 1, 2, 3, 4, 5]],
    ['Vehicle', [0, 1, 2, 3, 4, 5]],
    ['Vehicle.Cabin.Sunroof', [0, 1, 2, 3]],
    ['Vehicle.Cabin.Sunroof.**', [0, 1, 2, 3]],
    ['Vehicle.Cabin.Sunroof.*', [0, 3]],
    ['Vehicle.Cabin.Sunroof.*.Position', [1]],
    ['**.Sunroof.*.Position', [1]],
    ['*.*.*.*.Position', [1]],
    ['Vehicle.Cabin.Sunroof.**.Position', [0, 1]],
    ['**.Sunroof', []],
    ['**.Sunroof.**', [0, 1, 2, 3]],
    ['*.Sunroof', []],
    ['Sunroof', []],
    ['Vehicle.Speed', [4]],
    ['Vehicle.*', [4]],
    ['*', []],
    ['**', [0, 1, 2, 3, 4, 5]],
    ['**.**', [0, 1, 2, 3, 4, 5]],
    ['**.Position', [0, 1]],
    ['Vehicle.**.**.Shade.*', [1, 2]],
    // A signal has nothing below it.
    ['Vehicle.Speed.**', []],
    ['Vehicle.Speed.*', []],
    ['**.Vehicle.Speed', [4]],
    ['Vehicle.Spe*', [4]],
    ['Vehicle.*e*d', [4]],
    ['Vehicle.S*Limit.*', [5]],
    ['Vehicle.Speed*Speed', []],
    ['vehicle.*', []],
  ])('"%s"', (pattern, wanted) => {
    expect(all.filter(wildcardMatcher(pattern))).toEqual(wanted.map((i) => all[i]));
  });

  it.each(['.', 'Vehicle.', '.Vehicle', 'Vehicle..Speed', 'Vehicle Speed', 'Vehicle:Speed', '***', 'Vehicle.**x'])(
    'is not "%s"',
    (pattern) => {
      expect(() => wildcardMatcher(pattern)).toThrow(expect.objectContaining({ code: ErrorCode.BadGatewayRequest }));
    },
  );

  it('takes no longer for being long', () => {
    const deep = Array.from({ length: 60 }, () => 'a').join('.');
    const matches = wildcardMatcher(`${Array.from({ length: 200 }, () => '**.*').join('.')}.b`);
    expect(matches(deep)).toBe(false);
    const other = wildcardMatcher(`${Array.from({ length: 50 }, () => '**.*a*a*').join('.')}.b`);
    for (let i = 0; i < 1000; i++) expect(other(`${deep}${i}`)).toBe(false);
  });
});

import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { expandPaths, pathMatcher } from './expand-paths.ts';

const all = [
  'Vehicle.Cabin.Door.Row1.DriverSide.IsOpen',
  'Vehicle.Cabin.Door.Row1.PassengerSide.IsOpen',
  'Vehicle.Cabin.Door.Row2.DriverSide.IsOpen',
  'Vehicle.Speed',
  'Vehicle.SpeedLimit.Value',
];

describe('expandPaths', () => {
  it.each<[string[], number[]]>([
    [['Vehicle.Speed'], [3]],
    [['Vehicle'], [0, 1, 2, 3, 4]],
    [['Vehicle.Cabin.Door.Row1'], [0, 1]],
    [['Vehicle.Cabin.Door.*.DriverSide.IsOpen'], [0, 2]],
    [['Vehicle.Cabin.Door.*.DriverSide'], [0, 2]],
    [['Vehicle.*'], [0, 1, 2, 3, 4]],
    [['*.Speed'], [3]],
    [
      ['Vehicle.Speed', 'Vehicle.Cabin', 'Vehicle.Speed'],
      [0, 1, 2, 3],
    ],
    [[], []],
  ])('%j', (asked, wanted) => {
    expect(expandPaths(asked, all)).toEqual(wanted.map((i) => all[i]));
  });

  it.each(['Vehicle.Spee', 'Vehicle.Speed.X', 'vehicle', '', 'Vehicle.*.X'])(
    'refuses "%s", which names nothing',
    (path) => {
      expect(() => expandPaths(['Vehicle.Speed', path], all)).toThrow(
        expect.objectContaining({ code: ErrorCode.UnknownSignal, context: { path } }),
      );
    },
  );

  it('does not take the beginning of a name for a branch', () => {
    expect(pathMatcher('Vehicle.Speed')('Vehicle.SpeedLimit.Value')).toBe(false);
  });
});

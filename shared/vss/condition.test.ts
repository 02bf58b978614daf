import { describe, expect, it } from 'vitest';
import { ErrorCode, isKerbError } from '../base/errors.ts';
import { parseCondition } from './condition.ts';
import type { SignalDatum } from './signal.ts';

const car: Readonly<Record<string, SignalDatum>> = {
  'Vehicle.Speed': 12.5,
  'Vehicle.IsMoving': true,
  'Vehicle.Gear': 'D "1"',
};
const holds = (text: string) => parseCondition(text).holds((path) => car[path]);

describe('a condition', () => {
  it.each([
    ['Vehicle.Speed > 12', true],
    ['Vehicle.Speed<=12.5', true],
    ['Vehicle.Speed < -1e3', false],
    ['Vehicle.IsMoving == true', true],
    ['Vehicle.IsMoving != true', false],
    ['Vehicle.Gear == "D \\"1\\""', true],
    [`Vehicle.Gear != 'P'`, true],
    ['Vehicle.IsMoving == false || Vehicle.Speed > 10', true],
    ['Vehicle.IsMoving == false || Vehicle.Speed > 10 && Vehicle.Speed < 11', false],
    ['(Vehicle.IsMoving == false || Vehicle.Speed > 10) && Vehicle.Speed < 20 ', true],
  ])('%s', (text, expected) => {
    expect(holds(text)).toBe(expected);
  });

  it.each(['==', '!=', '<', '>='])('does not hold for a signal without a value (%s)', (sign) => {
    expect(holds(`Vehicle.Nothing ${sign} 1`)).toBe(false);
  });

  it('does not hold for a value of another type', () => {
    expect(holds('Vehicle.IsMoving != 0')).toBe(false);
  });

  it('names the leaves that it asks for', () => {
    expect(parseCondition('B.b == 1 || A.a == 2 && B.b != 3').paths).toEqual(['A.a', 'B.b']);
  });

  it.each([
    ['', /expected a VSS path such as Vehicle\.Speed, and it ends there/],
    ['Vehicle.Speed', /expected ==, !=, <, <=, > or >= after Vehicle\.Speed, and it ends/],
    ['Vehicle.Speed = 1', /cannot read "= 1"/],
    ['Vehicle.Speed == Vehicle.Other', /expected a number, true, false or a text in quotes, and found Vehicle\.Other/],
    ['1 == Vehicle.Speed', /expected a VSS path/],
    ['Vehicle.Gear < "P"', /< compares numbers only/],
    ['Vehicle.Speed == 1 Vehicle.Speed == 2', /expected &&, \|\| or the end/],
    ['(Vehicle.Speed == 1', /a bracket is not closed/],
    ['Vehicle.Speed == 1)', /expected &&, \|\| or the end, and found \)/],
    ['Vehicle..Speed == 1', /cannot read/],
    ['Vehicle.Speed == 1x', /cannot read/],
    ['Vehicle.Speed == "open', /cannot read/],
    ['('.repeat(30), /more than 20 brackets/],
    ['a'.repeat(1001), /1000 are the limit/],
  ])('is refused: %s', (text, message) => {
    try {
      parseCondition(text);
    } catch (error) {
      expect(isKerbError(error, ErrorCode.BadCondition)).toBe(true);
      expect((error as Error).message).toMatch(message);
      return;
    }
    throw new Error('it was taken');
  });
});

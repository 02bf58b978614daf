import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/errors.ts';
import { compileScopes, parseScope } from './scope.ts';

describe('a signal scope', () => {
  it('is read part by part', () => {
    expect(parseScope('read:Vehicle.Speed')).toEqual({
      ...{ text: 'read:Vehicle.Speed', isDenied: false, action: 'read', path: 'Vehicle.Speed' },
    });
    expect(parseScope('!actuate:Vehicle.*.IsOpen')).toMatchObject({ isDenied: true, path: 'Vehicle.*.IsOpen' });
    expect(parseScope('provide')).toMatchObject({ action: 'provide', path: undefined });
  });

  it.each([
    ['', /has to begin with one of read, actuate, provide/],
    ['Vehicle.Speed', /has to begin with/],
    ['write:Vehicle', /the action "write", which does not exist here/],
    ['create:Vehicle', /signals come from the mapping files/],
    ['read:', /has no VSS path/],
    ['read:Vehicle..Speed', /has no VSS path/],
    ['read:Vehicle.**', /has no VSS path/],
    ['!!read:Vehicle', /has to begin with/],
    ['read:Vehicle.Speed\n', /./],
    ['provide:data:Vehicle', /has no VSS path/],
  ])('%j is refused', (text, message) => {
    expect(() => parseScope(text)).toThrow(expect.objectContaining({ code: ErrorCode.BadSignalScope }));
    expect(() => parseScope(text)).toThrow(message);
  });
});

describe('scopes together', () => {
  const table: readonly [string[], string, string, boolean][] = [
    [['read:Vehicle.Speed'], 'read', 'Vehicle.Speed', true],
    [['read:Vehicle.Speed'], 'read', 'Vehicle.SpeedLimit', false],
    [['read:Vehicle.Cabin'], 'read', 'Vehicle.Cabin.Door.IsOpen', true],
    [['read:Vehicle.*.IsOpen'], 'read', 'Vehicle.Door.IsOpen', true],
    [['read:Vehicle.*.IsOpen'], 'read', 'Vehicle.Cabin.Door.IsOpen', false],
    [['read'], 'read', 'Vehicle.Speed', true],
    [[], 'read', 'Vehicle.Speed', false],
    [['actuate:Vehicle.Cabin'], 'read', 'Vehicle.Cabin.Fan', true],
    [['actuate:Vehicle.Cabin'], 'provide', 'Vehicle.Cabin.Fan', false],
    [['provide:Vehicle.Cabin'], 'read', 'Vehicle.Cabin.Fan', true],
    [['read:Vehicle'], 'actuate', 'Vehicle.Cabin.Fan', false],
    [['read:Vehicle', '!read:Vehicle.Cabin'], 'read', 'Vehicle.Cabin.Fan', false],
    [['!read:Vehicle.Cabin', 'read:Vehicle'], 'read', 'Vehicle.Speed', true],
    [['actuate:Vehicle', '!actuate:Vehicle.Cabin'], 'actuate', 'Vehicle.Cabin.Fan', false],
    [['actuate:Vehicle', '!actuate:Vehicle.Cabin'], 'read', 'Vehicle.Cabin.Fan', true],
    [['actuate:Vehicle', '!read:Vehicle.Cabin'], 'actuate', 'Vehicle.Cabin.Fan', false],
    [['read:Vehicle.Cabin.Fan', '!read:Vehicle'], 'read', 'Vehicle.Cabin.Fan', false],
  ];
  it.each(table)('%j: %s %s is %s', (scopes, action, leaf, allowed) => {
    expect(compileScopes(scopes).allows(action as 'read', leaf)).toBe(allowed);
  });

  it('name the one that denies', () => {
    expect(compileScopes(['read:Vehicle', '!read:Vehicle.Cabin']).deniedBy('read', 'Vehicle.Cabin.Fan')).toBe(
      '!read:Vehicle.Cabin',
    );
  });
});

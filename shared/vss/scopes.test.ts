import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { compileScopes, parseScope, type SignalAction } from './scopes.ts';

const actions: readonly SignalAction[] = ['read', 'actuate', 'provide'];

describe('scopes', () => {
  it.each<[readonly string[], string, readonly SignalAction[]]>([
    [[], 'Vehicle.Speed', []],
    [['read:Vehicle.Speed'], 'Vehicle.Speed', ['read']],
    [['read:Vehicle.Speed'], 'Vehicle.SpeedLimit', []],
    [['read:Vehicle'], 'Vehicle.Cabin.Door.IsOpen', ['read']],
    [['read:Vehicle.*.IsOpen'], 'Vehicle.Cabin.Door.IsOpen', []],
    [['read:Vehicle.*.*.IsOpen'], 'Vehicle.Cabin.Door.IsOpen', ['read']],
    [['actuate:Vehicle.Cabin'], 'Vehicle.Cabin.Door', ['read', 'actuate']],
    [['provide:Vehicle.Cabin'], 'Vehicle.Cabin.Door', ['read', 'provide']],
    [['read:Vehicle', '!read:Vehicle.Cabin'], 'Vehicle.Cabin.Door', []],
    [['!read:Vehicle.Cabin', 'read:Vehicle.Cabin.Door'], 'Vehicle.Cabin.Door', []],
    [['actuate:Vehicle', '!actuate:Vehicle.Cabin'], 'Vehicle.Cabin.Door', ['read']],
    [['actuate:Vehicle', '!read:Vehicle.Cabin'], 'Vehicle.Cabin.Door', ['actuate']],
    [['!read:Vehicle'], 'Vehicle.Speed', []],
  ])('%j allow %s to be used for %j', (scopes, leaf, allowed) => {
    const check = compileScopes(scopes.map(parseScope));
    expect(actions.filter((action) => check(action, leaf))).toEqual(allowed);
  });

  it.each([
    '',
    'read',
    'Vehicle.Speed',
    'write:Vehicle',
    'read:',
    'read:Vehicle..Speed',
    'read:Vehicle.',
    '!!read:A',
    'read:A B',
  ])('%j is none', (text) => {
    expect(() => parseScope(text)).toThrow(expect.objectContaining({ code: ErrorCode.BadSignalScope }));
  });
});

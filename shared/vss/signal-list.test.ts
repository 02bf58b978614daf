import { describe, expect, it } from 'vitest';
import { SignalStore } from '../../obu/signals/signal-store.ts';
import { ErrorCode } from '../base/errors.ts';
import { freshOf, type LeafValue } from './signal.ts';
import { sameValue, valueFault } from './signal-list.ts';
import { parseVssMapping, parseVssTree } from './vss-mapping.ts';

const limits = (datatype: string, rest = {}) => ({
  datatype,
  min: undefined,
  max: undefined,
  allowed: undefined,
  ...rest,
});

describe('the value of a list', () => {
  it.each<[object, LeafValue, boolean]>([
    [limits('uint8[]'), [], true],
    [limits('uint8[]'), [0, 255], true],
    [limits('uint8[]'), [256], false],
    [limits('uint8[]'), [1.5], false],
    [limits('uint8[]'), ['1'], false],
    [limits('uint8[]'), 1, false],
    [limits('uint8'), [1], false],
    [limits('string[]'), ['a', ''], true],
    [limits('boolean[]'), [true, 1], false],
    [limits('float[]'), [Number.NaN], false],
    [limits('uint8[]', { max: 9 }), [9, 10], false],
    [limits('string[]', { allowed: ['a'] }), ['a', 'a'], true],
    [limits('string[]', { allowed: ['a'] }), ['b'], false],
    [limits('uint8[]'), new Array<number>(4097).fill(1), false],
  ])('%j: %j', (info, value, isGood) => {
    expect(valueFault(info as ReturnType<typeof limits>, value) === undefined).toBe(isGood);
  });

  it('is the same with the same items', () => {
    expect([sameValue([1, 2], [1, 2]), sameValue([1], [1, 2]), sameValue([], []), sameValue([1], 1)]).toEqual([
      ...[true, false, true, false],
    ]);
  });
});

describe('defaults', () => {
  const store = (source: string) => new SignalStore([], parseVssTree(source, 'x.yaml'));

  it('of many digits keep them, and are ordinary numbers of a float or a double', () => {
    const signals = store(
      `V.D: { datatype: double, default: 9007199254740993, max: 18446744073709551615, allowed: [9007199254740993, 1] }
V.L: { datatype: "uint64[]", default: [18446744073709551615, 1] }
V.F: { datatype: "float[]", default: [9007199254740993, 1] }
`,
    );
    expect(signals.get('V.D')?.value).toBe(2 ** 53);
    expect(signals.info('V.D')).toMatchObject({ max: 2 ** 64, allowed: [2 ** 53, 1] });
    expect(signals.get('V.L')?.value).toEqual([2n ** 64n - 1n, 1]);
    expect(signals.get('V.F')?.value).toEqual([2 ** 53, 1]);
  });

  it('are values until a source gives one, and never come back', () => {
    const signals = store('Vehicle.Speed: { datatype: float, default: 0 }\nVehicle.Any: { datatype: float }');
    signals.start();
    expect(signals.get('Vehicle.Speed')).toMatchObject({ value: 0, stale: false, source: 'default' });
    expect(signals.get('Vehicle.Any')).toBeUndefined();
    const heard: unknown[] = [];
    signals.subscribe(new Set(['Vehicle.Speed']), (values) =>
      heard.push(...values.map(({ value, stale }) => [value, stale])),
    );
    const provider = signals.openProvider('car');
    provider.provide([{ path: 'Vehicle.Speed', value: 5 }]);
    provider.close();
    expect(heard).toEqual([
      [0, false],
      [5, false],
      [5, true],
    ]);
    signals.stop();
  });

  it('satisfy no condition, because nobody has observed them', () => {
    const signals = store(
      'Vehicle.IsMoving: { datatype: boolean, default: false }\nVehicle.L: { datatype: "uint8[]" }',
    );
    const fresh = freshOf(signals);
    expect(fresh('Vehicle.IsMoving')).toBeUndefined();
    const provider = signals.openProvider('car');
    provider.provide([
      { path: 'Vehicle.IsMoving', value: false },
      { path: 'Vehicle.L', value: [1] },
    ]);
    expect([fresh('Vehicle.IsMoving'), fresh('Vehicle.L')]).toEqual([false, undefined]);
  });

  it('belong to mapped leaves as well', () => {
    const [leaf] = parseVssMapping('Vehicle.A: { datatype: uint8, default: 7, dbc2vss: { signal: S } }', 'x.yaml');
    expect(leaf!.initial).toBe(7);
  });

  it.each([
    '{ datatype: uint8, default: 256 }',
    '{ datatype: uint8, default: [1] }',
    '{ datatype: "uint8[]", default: 1 }',
    '{ datatype: "uint8[]", default: [300] }',
    '{ datatype: string, default: 5 }',
    '{ datatype: uint8, max: 5, default: 6 }',
    '{ datatype: boolean, default: {} }',
    '{ datatype: "lists[]" }',
    '{ datatype: "uint8[][]" }',
  ])('refuses %s', (leaf) => {
    expect(() => parseVssTree(`Vehicle.A: ${leaf}`, 'x.yaml')).toThrow(
      expect.objectContaining({ code: ErrorCode.BadSignalMapping }),
    );
  });
});

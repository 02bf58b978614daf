import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { loadVssMapping, parseVssMapping, type VssFeed } from './vss-mapping.ts';

function one(feed: string, datatype = 'float', more = ''): VssFeed {
  const mappings = parseVssMapping(
    `Vehicle.A:\n  type: sensor\n  datatype: ${datatype}\n${more}  dbc2vss: ${feed}\n`,
    'map.yaml',
  );
  return mappings[0]!.feed!;
}

describe('parseVssMapping', () => {
  it('reads an overlay and a tree alike', () => {
    const overlay = parseVssMapping(
      `# comment
Vehicle:
  type: branch
Vehicle.Speed:
  type: sensor
  datatype: float
  unit: km/h
  dbc2vss:
    signal: DI_uiSpeed
    interval_ms: 100
Vehicle.Width:
  type: attribute
  datatype: uint16
Vehicle.Cabin.Fan:
  type: actuator
  datatype: uint8
  vss2dbc:
    signal: FanWish
`,
      'map.vspec',
    );
    const tree = parseVssMapping(
      JSON.stringify({
        Vehicle: {
          type: 'branch',
          children: {
            Speed: { type: 'sensor', datatype: 'float', dbc: { signal: 'DI_uiSpeed', interval_ms: 100 } },
            Width: { type: 'attribute', datatype: 'uint16' },
          },
        },
      }),
      'map.json',
    );
    for (const mappings of [overlay, tree]) {
      const speed = mappings.find(({ path }) => path === 'Vehicle.Speed');
      expect(speed).toMatchObject({
        info: { datatype: 'float', type: 'sensor' },
        feed: { signal: 'DI_uiSpeed', intervalMs: 100, onChange: false },
        target: undefined,
      });
    }
    expect(overlay.map(({ path }) => path)).toEqual(['Vehicle.Cabin.Fan', 'Vehicle.Speed']);
    expect(overlay[0]).toMatchObject({ info: { type: 'actuator' }, feed: undefined, target: { signal: 'FanWish' } });
    expect(tree.map(({ path }) => path)).toEqual(['Vehicle.Speed']);
  });

  it('has the intervals of Kuksa where nothing is said', () => {
    expect(one('{ signal: S }')).toMatchObject({ intervalMs: 1000, onChange: false });
    expect(one('{ signal: S, on_change: true }')).toMatchObject({ intervalMs: 0, onChange: true });
    expect(one('{ signal: S, interval_ms: 5, on_change: true }')).toMatchObject({ intervalMs: 5, onChange: true });
  });

  it('converts into the datatype, and leaves out what it cannot hold', () => {
    expect(one('{ signal: S }').convert(1.25, undefined)).toBe(1.25);
    expect(one('{ signal: S }', 'int8').convert(-3.6, undefined)).toBe(-4);
    expect(Object.is(one('{ signal: S }', 'int8').convert(-0.2, undefined), 0)).toBe(true);
    expect(one('{ signal: S }', 'uint8').convert(255.4, undefined)).toBe(255);
    expect(one('{ signal: S }', 'uint8').convert(256, undefined)).toBeUndefined();
    expect(one('{ signal: S }', 'uint8').convert(-1, undefined)).toBeUndefined();
    expect(one('{ signal: S }', 'boolean').convert(0, undefined)).toBe(false);
    expect(one('{ signal: S }', 'boolean').convert(2, undefined)).toBe(true);
    expect(one('{ signal: S }', 'string').convert(3, 'THREE')).toBe('THREE');
    expect(one('{ signal: S }', 'string').convert(3, undefined)).toBe('3');
    expect(one('{ signal: S }', 'uint8').convert(3, 'THREE')).toBe(3);
    const allowed = one('{ signal: S }', 'string', "  allowed: ['UP', 'DOWN']\n");
    expect(allowed.convert(1, 'UP')).toBe('UP');
    expect(allowed.convert(1, 'SIDEWAYS')).toBeUndefined();
  });

  it('maps names and numbers, first match first, and leaves out the rest', () => {
    const gear = one(
      '{ signal: S, transform: { mapping: [{ from: D, to: 1 }, { from: 7, to: -1 }, { from: D, to: 9 }] } }',
      'int8',
    );
    expect(gear.convert(4, 'D')).toBe(1);
    expect(gear.convert(7, undefined)).toBe(-1);
    expect(gear.convert(7, 'R')).toBe(-1);
    expect(gear.convert(5, 'N')).toBeUndefined();
    const flag = one(
      '{ signal: S, transform: { mapping: [{ from: true, to: false }, { from: 0, to: true }] } }',
      'boolean',
    );
    expect(flag.convert(1, undefined)).toBe(false);
    expect(flag.convert(0, undefined)).toBe(true);
  });

  it('calculates', () => {
    const formula = one('{ signal: S, transform: { math: "floor(x+0.5)" } }', 'int16');
    expect(formula.convert(133.5, undefined)).toBe(134);
    expect(one('{ signal: S, transform: { math: "1/x" } }').convert(0, undefined)).toBeUndefined();
  });

  it.each([
    ['{', 'map.json', /^map\.json: /],
    ['[1]', 'map.json', /^map\.json: it has to be a tree/],
    ['Vehicle.A: {\n', 'map.yaml', /^map\.yaml:2: /],
    ['a: 1\na: 2\n', 'map.yaml', /^map\.yaml:2: .*unique/],
    ['Vehicle.A: 5', 'map.yaml', /Vehicle\.A: it is neither a branch nor a signal/],
    ['Vehicle.A: { datatype: float, type: sensor, vss2dbc: { signal: S } }', 'map.yaml', /vss2dbc sets actuators/],
    ['Vehicle.A: { datatype: float, vss2dbc: { signal: S, chksum: {} } }', 'map.yaml', /vss2dbc: .*chksum/],
    [
      'Vehicle.A: { datatype: float, vss2dbc: { signal: S, checksum: { signal: C, algorithm: crc9 } } }',
      'map.yaml',
      /vss2dbc\.checksum\.algorithm: /,
    ],
    [
      'Vehicle.A: { datatype: boolean, vss2dbc: { signal: S, transform: { mapping: [{ from: 2, to: ON }] } } }',
      'map.yaml',
      /vss2dbc\.transform\.mapping: from: it is a boolean, not a number/,
    ],
    ['Vehicle.A: { datatype: float, type: knob, dbc2vss: { signal: S } }', 'map.yaml', /Vehicle\.A: type: /],
    ['Vehicle.A: { datatype: float, dbc2vss: {} }', 'map.yaml', /Vehicle\.A: dbc2vss\.signal: /],
    ['Vehicle.A: { datatype: float, dbc2vss: { signal: "" } }', 'map.yaml', /Vehicle\.A: dbc2vss\.signal: /],
    ['Vehicle.A: { datatype: float, dbc2vss: { signal: S, intervall_ms: 5 } }', 'map.yaml', /intervall_ms/],
    ['Vehicle.A: { datatype: float, dbc2vss: { signal: S, interval_ms: -5 } }', 'map.yaml', /interval_ms/],
    ['Vehicle.A: { datatype: float, dbc2vss: { signal: S, on_change: "yes" } }', 'map.yaml', /on_change/],
    ['Vehicle.A: { dbc2vss: { signal: S } }', 'map.yaml', /Vehicle\.A: datatype: /],
    ['Vehicle.A: { datatype: "string[]", dbc2vss: { signal: S } }', 'map.yaml', /Vehicle\.A: no CAN signal is a list/],
    ['Vehicle.A: { datatype: float, dbc2vss: { signal: S, transform: {} } }', 'map.yaml', /dbc2vss\.transform/],
    [
      'Vehicle.A: { datatype: float, dbc2vss: { signal: S, transform: { math: x, mapping: [{ from: 1, to: 2 }] } } }',
      'map.yaml',
      /dbc2vss\.transform/,
    ],
    [
      'Vehicle.A: { datatype: boolean, dbc2vss: { signal: S, transform: { mapping: [{ from: 1, to: 2 }] } } }',
      'map.yaml',
      /Vehicle\.A: transform\.mapping: "2" is not a value of datatype boolean/,
    ],
    [
      'Vehicle.A: { datatype: uint8, dbc2vss: { signal: S, transform: { mapping: [{ from: 1, to: 300 }] } } }',
      'map.yaml',
      /"300" is not a value of datatype uint8/,
    ],
    [
      'Vehicle.A: { datatype: float, dbc2vss: { signal: S, transform: { math: "x +" } } }',
      'map.yaml',
      /Vehicle\.A: formula "x \+", character 4/,
    ],
    ['Vehicle.A: { datatype: string, dbc2vss: { signal: S, transform: { math: "x" } } }', 'map.yaml', /gives no text/],
    [
      'Vehicle.A: { datatype: float, dbc2vss: { signal: S } }\nVehicle:\n  children: { A: { datatype: float, dbc2vss: { signal: T } } }',
      'map.yaml',
      /Vehicle\.A: it is there twice/,
    ],
  ])('refuses %j', (source, file, message) => {
    expect(() => parseVssMapping(source, file)).toThrow(expect.objectContaining({ code: ErrorCode.BadSignalMapping }));
    expect(() => parseVssMapping(source, file)).toThrow(message);
  });

  it('refuses a tree that goes on and on', () => {
    let deep = '{ "datatype": "float" }';
    for (let i = 0; i < 100; i++) deep = `{ "children": { "a": ${deep} } }`;
    expect(() => parseVssMapping(`{ "a": ${deep} }`, 'map.json')).toThrow('nested too deeply');
  });

  it('says that a file is not there', async () => {
    await expect(loadVssMapping('/nowhere/map.yaml')).rejects.toMatchObject({ code: ErrorCode.BadSignalMapping });
  });
});

import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { HandBus } from '../../test/support/gateway-parts.ts';
import { CanRouter } from '../can/router.ts';
import { loadDefaults } from './default-values.ts';
import { loadLeaves, makeSignals } from './start.ts';

const folder = mkdtempSync(join(tmpdir(), 'kerb-signals-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

describe('the signals of a configuration', () => {
  const config = {
    dbc: new Map(),
    mapping: [],
    vss: [file('vss.yaml', 'Vehicle.A: { datatype: uint8 }\nVehicle.B.C: { datatype: uint8 }\n')],
    defaults: [],
    sources: new Map([
      ['Vehicle.B', ['two', 'one']],
      ['Vehicle', ['one']],
    ]),
  };

  it('are those of all files and of the OBU itself', async () => {
    const paths = (await loadLeaves('obu-1', config)).map(({ path }) => path);
    expect(paths).toEqual(
      expect.arrayContaining(['Vehicle.A', 'Vehicle.B.C', 'Vehicle.ControlUnit.Obu1.Kerbside.Uptime']),
    );
  });

  it('have their sources ranked by the first path that fits', async () => {
    const store = await makeSignals('obu-1', config, new Map());
    store.start();
    for (const name of ['one', 'two']) {
      store.openProvider(name).provide(['Vehicle.A', 'Vehicle.B.C'].map((path) => ({ path, value: 1 })));
    }
    expect(store.get('Vehicle.A')?.source).toBe('one');
    expect(store.get('Vehicle.B.C')?.source).toBe('two');
    store.stop();
  });

  it.each([
    ['[]', /: it has to be a value/],
    ['{ "A": [] }', /: A has to be a value/],
    ['{', /defaults\.json: /],
  ])('do not begin with %s for defaults', async (text, message) => {
    const wrong = loadDefaults(file('defaults.json', text));
    await expect(wrong).rejects.toMatchObject({ code: ErrorCode.BadSignalMapping });
    await expect(wrong).rejects.toThrow(message);
  });

  it('do not begin without a file that is named', async () => {
    await expect(loadDefaults('/nowhere.json')).rejects.toMatchObject({ code: ErrorCode.BadSignalMapping });
  });
});

describe('files that are wrong in one place', () => {
  const bus = new HandBus();
  const router = new CanRouter(bus);
  const dbc = `BO_ 100 M: 8 A
 SG_ S : 0|8@1+ (1,0) [0|100] "" B
 SG_ T : 8|8@1+ (1,0) [0|0] "" B
 SG_ Lost : 16|8@1 (1,0) [0|0] "" B
BO_ 101 N: 8 A
 SG_ T : 0|4@1+ (1,0) [0|0] "" B
 SG_ Wide : 8|56@1+ (1,0) [0|0] "" B
VAL_ 100 S 7 "SEVEN" ;
BA_DEF_ SG_ "GenSigStartValue" FLOAT 0 1000;
BA_ "GenSigStartValue" SG_ 101 Wide 72057594037927935;
BA_ "GenSigStartValue" SG_ 101 T 16;
`;
  const mapping = `
Vehicle.S: { type: actuator, datatype: uint8, vss2dbc: { signal: S } }
Vehicle.T: { type: actuator, datatype: uint8, vss2dbc: { signal: T, message: N } }
Vehicle.Lost: { type: actuator, datatype: uint8, dbc2vss: { signal: Lost }, vss2dbc: { signal: Lost } }
`;
  const start = async (defaults: string, map = mapping) => {
    const store = await makeSignals(
      'obu-1',
      {
        dbc: new Map([['can0', [file('wrong.dbc', dbc)]]]),
        mapping: [file('map.yaml', map)],
        vss: [],
        defaults: [file('values.json', defaults)],
        sources: new Map(),
      },
      new Map([['can0', router]]),
    );
    store.start();
    return store;
  };
  const placesOf = (warnings: readonly string[]) => warnings.map((one) => one.slice(folder.length + 1).split(': ')[0]);

  it('say which lines they are, and cost nobody else', async () => {
    const store = await start('{\n  "T": 200,\n  "S": "EIGHT",\n  "Nowhere": 1\n}\n');
    expect(placesOf(store.warnings)).toEqual([
      'wrong.dbc:4',
      'wrong.dbc:11',
      // 200 fits T of M, which has eight bits, and not that of N, which has four.
      'values.json:2',
      'values.json:3',
      'values.json:4',
      'map.yaml',
    ]);
    expect(store.whyNone('Vehicle.Lost')).toContain('Lost');
    bus.sent.length = 0;
    await store.actuate('Vehicle.S', 5);
    await store.actuate('Vehicle.T', 6);
    // The other signals have their good defaults: T of M is 200, Wide of N all ones.
    expect(bus.sent.map(({ data }) => [...data])).toEqual([
      [5, 200, 0, 0, 0, 0, 0, 0],
      [6, 255, 255, 255, 255, 255, 255, 255],
    ]);
    await expect(store.actuate('Vehicle.Lost', 1)).rejects.toMatchObject({ code: ErrorCode.NoActuationProvider });
    store.stop();
  });

  it('keep the digits of a default', async () => {
    const store = await start('{ "Wide": 72057594037927934, "T": 1, "S": 7 }');
    bus.sent.length = 0;
    await store.actuate('Vehicle.T', 2);
    expect([...bus.sent[0]!.data]).toEqual([2, 0xfe, 255, 255, 255, 255, 255, 255]);
    store.stop();
  });

  it('do not hide that a mapping names what never was', async () => {
    await expect(start('{}', 'Vehicle.X: { datatype: uint8, dbc2vss: { signal: Never } }')).rejects.toMatchObject({
      code: ErrorCode.BadSignalMapping,
    });
  });

  it('are not loaded when they are empty', async () => {
    const config = { mapping: [], vss: [], defaults: [], sources: new Map() };
    const empty = { ...config, dbc: new Map([['can0', [file('empty.dbc', '\n')]]]) };
    await expect(makeSignals('obu-1', empty, new Map([['can0', router]]))).rejects.toMatchObject({
      code: ErrorCode.BadDbc,
    });
  });
});

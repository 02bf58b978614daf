import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/errors.ts';
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

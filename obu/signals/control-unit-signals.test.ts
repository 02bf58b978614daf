import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { describeWhere } from '../../test/support/machine/not-run.ts';
import { ControlUnitSignals, controlUnitOf, ownLeaves } from './control-unit-signals.ts';
import { SignalStore } from './signal-store.ts';

describe('the own state of an OBU', () => {
  it.each([
    ['obu-1', 'Obu1'],
    ['front.left_2', 'FrontLeft2'],
    ['Central', 'Central'],
    ['7', 'Unit7'],
  ])('of "%s" is under %s', (obu, name) => {
    expect(controlUnitOf(obu)).toBe(`Vehicle.ControlUnit.${name}`);
  });

  it('is published as signals, and stale when the OBU stops', async () => {
    const store = new SignalStore([], ownLeaves('obu-1'));
    store.start();
    let states: readonly string[] | undefined;
    const own = new ControlUnitSignals({
      obu: 'obu-1',
      provider: store.openProvider('obu-1'),
      buses: () => [true, false],
      workloads: () => states,
    });
    const before = store.paths().length;
    own.start();
    const of = (leaf: string) => store.get(`Vehicle.ControlUnit.Obu1.${leaf}`);
    expect(of('Health.Resources.Utilization.Memory')?.value).toBeGreaterThan(0);
    expect(of('Health.Network.CAN.IsNetworkOK')).toMatchObject({ value: false, source: 'obu-1' });
    expect(of('Kerbside.Uptime')?.value).toBe(0);
    expect(of('Kerbside.Workloads.Running')).toBeUndefined();
    states = ['Running', 'Failed', 'Running'];
    while (of('Kerbside.Workloads.Running') === undefined) await sleep(50);
    expect(['Total', 'Running', 'Failed'].map((name) => of(`Kerbside.Workloads.${name}`)?.value)).toEqual([3, 2, 1]);
    expect(of('Health.Resources.Utilization.CPU')?.value).toBeLessThanOrEqual(100);
    expect(store.withValue).toBe(before);
    own.stop();
    expect(store.stale).toBe(before);
    store.stop();
  });
});

const spec = join(import.meta.dirname, '../../../shared/data/vss-6.0/spec');
const present = existsSync(spec);

/** Datatype by path of what a vspec file and its includes describe; instances are written as `*`. */
function readSpec(file: string, prefix: string, into: Map<string, string>): void {
  let path = '';
  const instanced = new Set<string>();
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const include = /^#include (\S+) ?(\S*)/.exec(line);
    if (include !== null) {
      const branch = [prefix, include[2]].filter((part) => part !== '').join('.');
      readSpec(join(dirname(file), include[1]!), instanced.has(branch) ? `${branch}.*` : branch, into);
      continue;
    }
    const key = /^([A-Za-z][\w.]*):\s*$/.exec(line);
    if (key !== null) path = [prefix, key[1]].filter((part) => part !== '').join('.');
    if (/^ +instances:/.test(line)) instanced.add(path);
    const datatype = /^ +datatype: (\S+)/.exec(line);
    if (datatype !== null) into.set(path, datatype[1]!);
  }
}

describeWhere(present ? undefined : `${spec} is not there`, 'VSS 6.0', () => {
  it('has the paths of the own state, but for those in the branch Kerbside', () => {
    const known = new Map<string, string>();
    readSpec(join(spec, 'Vehicle', 'ControlUnit', 'ControlUnit.vspec'), 'Vehicle', known);
    const leaves = ownLeaves('obu-1').map(({ info }) => info);
    for (const { path, datatype } of leaves.filter(({ path }) => !path.includes('.Kerbside.'))) {
      expect(known.get(path.replace('.Obu1.', '.*.')), path).toBe(datatype);
    }
  });
});

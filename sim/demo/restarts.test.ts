import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { daemonsOf, isOfSupervisor } from './restarts.ts';

const root = join(import.meta.dirname, '../..');

describe('daemonsOf', () => {
  it.each([
    ['obu/planner/plan.ts', ['obu']],
    ['broker/offloads/offloads.ts', ['broker']],
    ['broker/unikernel/gate/abi.json', ['broker']],
    ['sim/car/vehicle.ts', ['sim-can']],
    ['sim/car/car.dbc', ['sim-can', 'sim-dashcam', 'obu']],
    ['sim/car/car.vss.yaml', ['obu']],
    ['sim/dashcam/road.ts', ['sim-dashcam']],
    ['shared/base/log.ts', ['can-bus', 'sim-can', 'sim-dashcam', 'broker', 'obu']],
    ['shared/can/userspace/userspace-bus.ts', ['can-bus', 'sim-can', 'sim-dashcam', 'obu']],
    ['shared/vss/scopes.ts', ['obu']],
    ['cli/kerb.ts', ['can-bus', 'sim-can', 'sim-dashcam', 'broker', 'obu']],
    ['cli/sim/can-command.ts', ['sim-can']],
    ['cli/obu/serve-command.ts', ['obu']],
  ])('restarts for %s what runs it', (path, daemons) => {
    expect(daemonsOf(path)).toEqual(daemons);
  });

  it.each([
    'obu/planner/plan.test.ts',
    'obu/README.md',
    'broker/unikernel/tender/process.c',
    'shared/app-sdk/client.ts',
    'sim/demo/drive.ts',
    'cli/sim/drive-command.ts',
    'cli/pki/pki-commands.ts',
    'obu/planner/.plan.ts.swp',
    'obu/planner/plan.ts~',
    'obu',
    '',
    'constructor/toString.ts',
    '../etc/passwd.ts',
  ])('restarts nothing for %j', (path) => {
    expect(daemonsOf(path)).toEqual([]);
  });

  it('knows only folders and files that are there', () => {
    const text = readFileSync(join(import.meta.dirname, 'restarts.ts'), 'utf8');
    const paths = [...text.matchAll(/^ {2}'?([\w/.-]+)'?: (?:\[|ALL)/gm)].map(([, path]) => path!);
    expect(paths.length).toBeGreaterThan(15);
    expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });
});

it('isOfSupervisor tells what only a new start of everything shows', () => {
  const paths = ['sim/demo/drive.ts', 'cli/sim/drive-command.ts', 'sim/demo/drive.test.ts', 'sim/car/car.ts'];
  expect(paths.map(isOfSupervisor)).toEqual([true, true, false, false]);
});

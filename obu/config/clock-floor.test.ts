import { mkdtemp, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { silentLog } from '../../shared/base/log.ts';
import { ClockFloor } from './clock-floor.ts';

const at = (iso: string) => Date.parse(iso);
const BUILD = at('2026-01-01T00:00:00Z');
let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-clock-'));
  file = join(folder, 'clock');
});
afterEach(() => rm(folder, { recursive: true }));

const floorAt = (now: string, manifest?: string) => {
  const floor = new ClockFloor(file, silentLog(), () => at(now), BUILD);
  floor.start(manifest === undefined ? undefined : at(manifest));
  floor.stop();
  return floor.state;
};

it.each([
  ['build', undefined, undefined, '2026-01-01T00:00:00.000Z'],
  ['state', '2026-02-01T00:00:00Z', '2026-01-15T00:00:00Z', '2026-02-01T00:00:00.000Z'],
  ['manifest', '2026-02-01T00:00:00Z', '2026-03-01T00:00:00Z', '2026-03-01T00:00:00.000Z'],
])('the floor is the newest that is known: %s', async (from, ran, applied, floor) => {
  if (ran !== undefined) {
    await writeFile(file, '');
    await utimes(file, at(ran) / 1000, at(ran) / 1000);
  }
  expect(floorAt('1970-01-01T00:10:00Z', applied)).toEqual({ floor, from, behind: true });
  expect(floorAt('2027-01-01T00:00:00Z', applied)).toMatchObject({ behind: false });
});

it('the time of a run is kept for the next one, and that of a clock that was not set is not', async () => {
  floorAt('2026-06-01T00:00:00Z');
  expect((await stat(file)).mtimeMs).toBe(at('2026-06-01T00:00:00Z'));
  expect(floorAt('1970-01-01T00:00:00Z')).toEqual({ floor: '2026-06-01T00:00:00.000Z', from: 'state', behind: true });
  expect((await stat(file)).mtimeMs).toBe(at('2026-06-01T00:00:00Z'));
});

it('a folder that cannot be written to fails nothing', () => {
  const floor = new ClockFloor(join(folder, 'none', 'clock'), silentLog(), Date.now, BUILD);
  floor.start(undefined);
  floor.stop();
  expect(floor.state).toMatchObject({ from: 'build', behind: false });
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { VersionFloors } from './version-floors.ts';

let dir: string;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kerb-floors-'));
  file = join(dir, 'versions.json');
});
afterEach(() => rmSync(dir, { recursive: true }));

const pack = (version: string, name = 'filter') => ({ digest: `sha256:${name}-${version}`, name, version });
const taken = async (floors: VersionFloors, tenant: string | undefined, ...versions: string[]) =>
  (
    await floors.take(
      tenant,
      versions.map((version) => pack(version)),
    )
  ).map((fault) => fault?.code);

it('a lower version is not taken after a higher one, also by the next start', async () => {
  expect(await taken(new VersionFloors(file), 'ACME', '1.2')).toEqual([undefined]);
  expect(await taken(new VersionFloors(file), 'ACME', '1.10')).toEqual([undefined]);
  const floors = new VersionFloors(file);
  expect(await taken(floors, 'ACME', '1.9')).toEqual([ErrorCode.TaskRevoked]);
  expect(await taken(floors, 'ACME', '1.10', '2')).toEqual([undefined, undefined]);
  expect(await taken(floors, 'ACME', '1.11')).toEqual([ErrorCode.TaskRevoked]);
});

it('counts each tenant and each task for itself; the operator is one of them', async () => {
  const floors = new VersionFloors(file);
  await taken(floors, 'ACME', '5');
  expect(await taken(floors, 'Other', '1')).toEqual([undefined]);
  expect(await taken(floors, undefined, '1')).toEqual([undefined]);
  expect(await floors.take('ACME', [pack('1', 'lane')])).toEqual([undefined]);
  expect(await taken(floors, 'ACME', '4')).toEqual([ErrorCode.TaskRevoked]);
});

it('packages that are there together stay together, and what was taken stays until it is let go', async () => {
  const floors = new VersionFloors(file);
  expect(await taken(floors, undefined, '2', '1')).toEqual([undefined, undefined]);
  expect(await taken(new VersionFloors(file), undefined, '1', '2')).toEqual([undefined, undefined]);
  await floors.forget(undefined, pack('1').digest);
  expect(await taken(floors, undefined, '1', '2')).toEqual([ErrorCode.TaskRevoked, undefined]);
  await floors.forget(undefined, pack('2').digest);
  expect(await taken(floors, undefined, '2')).toEqual([undefined]);
});

it('is reset by the operator', async () => {
  const floors = new VersionFloors(file);
  await taken(floors, 'ACME', '5');
  expect(await new VersionFloors(file).reset('ACME', 'filter')).toBe('5');
  expect(await new VersionFloors(file).reset('ACME', 'filter')).toBeUndefined();
  expect(await taken(floors, 'ACME', '1')).toEqual([undefined]);
});

it('is set by the operator: lower, and what is there does not raise it again; higher, and what is there must reach it', async () => {
  const floors = new VersionFloors(file);
  await taken(floors, 'ACME', '5', '6');
  await taken(floors, undefined, '1');
  expect(await floors.reset('ACME', 'filter', '3')).toBe('6');
  expect(await taken(new VersionFloors(file), 'ACME', '5', '6')).toEqual([undefined, undefined]);
  expect(await floors.list()).toEqual([
    { tenant: '', task: 'filter', version: '1' },
    { tenant: 'ACME', task: 'filter', version: '3' },
  ]);
  expect(await taken(floors, 'ACME', '2', '4')).toEqual([ErrorCode.TaskRevoked, undefined]);
  expect(await floors.reset('ACME', 'filter', '7')).toBe('4');
  expect(await taken(floors, 'ACME', '6', '7')).toEqual([ErrorCode.TaskRevoked, undefined]);
});

it('is bounded for each tenant', async () => {
  const floors = new VersionFloors(file);
  const many = Array.from({ length: 1000 }, (_, i) => pack('1', `t${i}`));
  expect((await floors.take('ACME', many)).every((fault) => fault === undefined)).toBe(true);
  expect((await floors.take('ACME', [pack('1', 'more')]))[0]).toMatchObject({ code: ErrorCode.PushQuotaSpent });
  expect(await floors.take('Other', [pack('1', 'more')])).toEqual([undefined]);
});

it.each(['', '{}', '[{"tenant":1}]', '[{"tenant":"A","task":"t","version":"1","digests":[],"x":1}]'])(
  'a file of %s takes nothing, and says so',
  async (text) => {
    writeFileSync(file, text);
    await expect(taken(new VersionFloors(file), 'ACME', '1')).rejects.toMatchObject({ code: ErrorCode.StateDamaged });
    await expect(taken(new VersionFloors(join(file, 'x')), 'A', '1')).rejects.toMatchObject({
      code: ErrorCode.StateUnavailable,
    });
  },
);

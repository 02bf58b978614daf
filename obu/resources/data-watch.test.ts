import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { silentLog } from '../../shared/base/log.ts';
import { workloadOf } from '../../test/support/workload.ts';
import { DataWatch } from './data-watch.ts';
import { folderUse } from './folder-use.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kerb-data-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const none = { bytes: Number.POSITIVE_INFINITY, entries: Number.POSITIVE_INFINITY };

it('counts what a folder takes of the disk, files with holes as what they take, and follows no link', async () => {
  mkdirSync(join(folder, 'a/b'), { recursive: true });
  writeFileSync(join(folder, 'a/b/file'), Buffer.alloc(100_000, 1));
  const { bytes, entries } = await folderUse(folder, none);
  expect(entries).toBe(3);
  expect(bytes).toBeGreaterThanOrEqual(100_000);
  writeFileSync(join(folder, 'holes'), '');
  truncateSync(join(folder, 'holes'), 2 ** 40);
  symlinkSync('/', join(folder, 'root'));
  symlinkSync('..', join(folder, 'a/up'));
  const more = await folderUse(folder, none);
  expect(more.entries).toBe(6);
  expect(more.bytes - bytes).toBeLessThan(100_000);
});

it('stops at the limit, and takes a folder that is not there for an empty one', async () => {
  for (let i = 0; i < 50; i++) writeFileSync(join(folder, String(i)), 'x');
  linkSync(join(folder, '0'), join(folder, 'link'));
  expect((await folderUse(folder, { ...none, entries: 10 })).entries).toBe(11);
  expect((await folderUse(folder, { ...none, bytes: 0 })).entries).toBe(1);
  expect(await folderUse(join(folder, 'absent'), none)).toEqual({ bytes: 0, entries: 0 });
});

it('goes on where one that is malicious nests folders deeper than a path can say', async () => {
  const before = process.cwd();
  try {
    process.chdir(folder);
    for (let i = 0; i < 30; i++) {
      mkdirSync('d'.repeat(200));
      process.chdir('d'.repeat(200));
    }
  } finally {
    process.chdir(before);
  }
  const { entries } = await folderUse(folder, none);
  expect(entries).toBeGreaterThan(10);
});

it('holds who keeps more than its manifest gives it, or than everyone is given', async () => {
  for (const name of ['small', 'other', 'good']) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'file'), Buffer.alloc(name === 'good' ? 10 : 100_000, 1));
  }
  const workloads = [
    workloadOf({ name: 'small', dataLimit: 50_000 }),
    workloadOf({ name: 'other', dataLimit: undefined }),
    workloadOf({ name: 'good', dataLimit: undefined }),
    workloadOf({ name: 'absent', dataLimit: 1 }),
  ];
  let changes = 0;
  const watch = new DataWatch({
    data: folder,
    workloads: () => workloads,
    limit: 80_000,
    keepFree: 0,
    log: silentLog(),
    onChange: () => changes++,
  });
  watch.start();
  while (changes === 0) await sleep(5);
  expect([...watch.held.keys()]).toEqual(['small', 'other']);
  expect(watch.bytes.get('good')).toBeLessThan(80_000);
  await watch.stop();
});

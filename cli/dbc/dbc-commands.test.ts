import { execFile } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';

const kerb = join(import.meta.dirname, '../kerb.ts');
const folder = mkdtempSync(join(tmpdir(), 'kerb-dbc-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

const good = file('good.dbc', 'BO_ 1 M: 8 A\n SG_ S : 0|8@1+ (1,0) [0|0] "" B\n SG_ T : 4|8@1+ (1,0) [0|0] "" B\n');
const bad = file(
  'bad.dbc',
  'BO_ 1 M: 8 A\n SG_ S : 0|8@1 (1,0) [0|0] "" B\n SG_ T : 0|8@1+ (1,0) [0|0] "" B\nCM_ BO_ 9 "x";\n',
);
const empty = file('empty.dbc', '');

async function check(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', kerb, 'dbc', 'check', ...args],
      (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });
}

it('finds nothing in a file that is right, and notes what overlaps', async () => {
  const { code, out, err } = await check(good);
  expect([code, err]).toEqual([0, '']);
  expect(out).toMatch(/good\.dbc: 1 message, 2 signals/);
  expect(out).toMatch(/note: .*good\.dbc:1: .*S and T/);
});

it('lists all problems of all files, and ends with 1', async () => {
  const { code, out, err } = await check(good, bad, empty, '/nowhere.dbc');
  expect(code).toBe(1);
  expect(err).toContain(`[${ErrorCode.DbcHasProblems} DbcHasProblems]`);
  for (const place of [`${bad}:2: `, `${bad}:4: `, `${empty}:1: `, '/nowhere.dbc:1: ']) expect(out).toContain(place);
});

it('gives the same as JSON', async () => {
  const { code, out } = await check(bad, '-o', 'json');
  expect(code).toBe(1);
  expect(JSON.parse(out)).toMatchObject([{ file: bad, messages: 1, signals: 1, problemCount: 2, overlaps: [] }]);
});

it('wants a file', async () => {
  expect((await check()).code).toBe(2);
});

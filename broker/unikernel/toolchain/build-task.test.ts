import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import { buildTask, readTaskFile } from './build-task.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kerb-task-file-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test.each([
  ['version: 1.2.3', { version: '1.2.3', isolation: 'any' }],
  ['version: 1.10 # not 1.1', { version: '1.10', isolation: 'any' }],
  ['version: "2"\nisolation: vm', { version: '2', isolation: 'vm' }],
  ['version: 1\ncost: 1.5ms', { version: '1', isolation: 'any', cost: 1.5 }],
  [
    'version: 1\ntypescript: { name: aqi, memory: 2 MiB, maxInput: 64KiB, maxOutput: 12 }',
    {
      version: '1',
      isolation: 'any',
      typescript: { name: 'aqi', memory: 2_097_152, maxInput: 65_536, maxOutput: 12 },
    },
  ],
])('%j', async (text, expected) => {
  writeFileSync(join(dir, 'task.yaml'), text);
  expect(await readTaskFile(dir)).toEqual(expected);
});

test.each([
  ['', /the file: /],
  ['isolation: vm', /version: /],
  ['version: 1\ncost: cheap', /cost: 'cheap' is not a valid duration/],
  ['version: 1\ncost: 0ms', /cost: /],
  ['version: 1\ncost: 2h', /cost: /],
  ['version: 1 2', /version: is not a valid version/],
  ['version: ../1', /version: is not a valid version/],
  ['version: 1\nisolation: none', /isolation: /],
  ['version: 1\nmemory: 4096', /"memory"/],
  ['version: 1\ntypescript: { name: aqi }', /typescript.memory: /],
  [
    'version: 1\ntypescript: { name: Aqi, memory: 1, maxInput: 1, maxOutput: 1 }',
    /typescript.name: is not a valid name/,
  ],
  [
    'version: 1\ntypescript: { name: a, memory: 1 GiB, maxInput: 1, maxOutput: 1 }',
    /typescript.memory: is not a valid size/,
  ],
  ['versoin: 1', /task\.yaml: unknown key "versoin"; a task\.yaml has version and isolation/],
  ['version: [1', /is not valid YAML/],
  ['- version', /the file: /],
])('%j is refused, and the file named', async (text, message) => {
  writeFileSync(join(dir, 'task.yaml'), text);
  await expect(readTaskFile(dir)).rejects.toMatchObject({
    code: ErrorCode.BadConfig,
    message: expect.stringMatching(message),
    context: { path: join(dir, 'task.yaml') },
  });
});

test('a missing file says what to write', async () => {
  await expect(readTaskFile(dir)).rejects.toThrow(/task.yaml: cannot be read: .*for example "version: 1.0.0"/);
});

test.each([
  ['module.wasm', /module\.wasm is a WebAssembly file, not its sources: kerb task build takes a folder/],
  ['task.c', /task\.c is not a folder: kerb task build takes a folder with task\.yaml and either C files/],
  ['missing', /missing cannot be read.*: kerb task build takes a folder/],
])('built from %s instead of a folder, it says what it takes', async (name, message) => {
  if (name !== 'missing') writeFileSync(join(dir, name), '');
  await expect(buildTask(join(dir, name), join(dir, 'out'))).rejects.toMatchObject({
    code: ErrorCode.BadConfig,
    message: expect.stringMatching(message),
    context: { path: join(dir, name) },
  });
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ErrorCode } from '../errors.ts';
import { readTaskFile } from './build.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kerb-task-file-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test.each([
  ['version: 1.2.3', { version: '1.2.3', isolation: 'any' }],
  ['version: 1.10 # not 1.1', { version: '1.10', isolation: 'any' }],
  ['version: "2"\nisolation: vm', { version: '2', isolation: 'vm' }],
])('%j', async (text, expected) => {
  writeFileSync(join(dir, 'task.yaml'), text);
  expect(await readTaskFile(dir)).toEqual(expected);
});

test.each([
  ['', /the file: /],
  ['isolation: vm', /version: /],
  ['version: 1 2', /version: is no version/],
  ['version: ../1', /version: is no version/],
  ['version: 1\nisolation: none', /isolation: /],
  ['version: 1\nmemory: 4096', /"memory"/],
  ['versoin: 1', /task\.yaml: unknown key "versoin"; a task\.yaml has version and isolation/],
  ['version: [1', /is no YAML/],
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

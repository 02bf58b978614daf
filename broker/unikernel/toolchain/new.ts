import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { ErrorCode, isErrno, KerbError, messageOf } from '../../../shared/base/errors.ts';
import { isTaskName } from '../../../shared/task-package/format.ts';
import { TASK_FILE } from './build-task.ts';

export const LANGUAGES = ['c', 'ts'] as const;
export type Language = (typeof LANGUAGES)[number];

/**
 * A folder with a task that builds at once and answers its input turned round. Returns its source file.
 * @throws KerbError BadConfig: a name that is none, or something is there already
 */
export async function newTask(dir: string, language: Language): Promise<string> {
  const name = basename(resolve(dir));
  if (!isTaskName(name)) {
    throw new KerbError(
      ErrorCode.BadConfig,
      `'${name}' is not a valid name for a task: it must be 1 to 63 of a-z, 0-9 and -`,
      { name },
    );
  }
  const files: Record<Language, Record<string, string>> = {
    c: { [TASK_FILE]: 'version: 0.1.0\n', [`${name}.c`]: cSource(name) },
    ts: { [TASK_FILE]: typescriptFile(name), [`${name}.ts`]: typescriptSource(name) },
  };
  try {
    await mkdir(dir);
    for (const [file, text] of Object.entries(files[language])) await writeFile(join(dir, file), text, { flag: 'wx' });
  } catch (cause) {
    const why = isErrno(cause, 'EEXIST') ? 'is there already' : `cannot be made: ${messageOf(cause)}`;
    throw new KerbError(ErrorCode.BadConfig, `${dir} ${why}; choose another name`, { dir }, { cause });
  }
  return join(dir, `${name}.${language}`);
}

function cSource(name: string): string {
  return `/*
 * ${name}: returns its input in reverse.
 *
 * In:  any bytes, at most 64 KiB.
 * Out: the same bytes, last one first.
 *
 * Try it: echo hello | kerb task run . --input -
 */
#include <kerbside/task.h>

KERB_TASK("${name}", .memory = 512 << 10, .max_input = 64 << 10, .max_output = 64 << 10);

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  if (in_size > out_capacity) return 1; /* a status of your own: the caller is told */
  for (size_t i = 0; i < in_size; i++) out[i] = in[in_size - 1 - i];
  *out_size = in_size;
  return 0;
}
`;
}

function typescriptFile(name: string): string {
  return `version: 0.1.0
typescript: { name: ${name}, memory: 1 MiB, maxInput: 64 KiB, maxOutput: 64 KiB }
`;
}

function typescriptSource(name: string): string {
  return `// ${name}: returns its input in reverse.
//
// In:  any bytes, at most 64 KiB.
// Out: the same bytes, last one first.
//
// This is AssemblyScript: TypeScript with the types of WebAssembly. There are console.log(), Math.random(), Date.now()
// and refuse(status), which tells the caller that the input is not valid.
//
// Try it: echo hello | kerb task run . --input -

export function task(input: StaticArray<u8>): StaticArray<u8> {
  const output = new StaticArray<u8>(input.length);
  for (let i = 0; i < input.length; i++) output[i] = input[input.length - 1 - i];
  return output;
}
`;
}

/**
 * Builds a task in TypeScript into a unikernel image: AssemblyScript to WebAssembly, wasm2c to C, and that by
 * build-task.sh. Run by build-task.sh; exit codes as it has them. The compilers' messages come through as they are.
 *
 *   build.ts SOURCE IMAGE
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { isKerbError } from '../../../shared/base/errors.ts';
import { stateRoom } from '../../../shared/task-package/state-frame.ts';
import { readTaskFile } from '../toolchain/build-task.ts';

// sysexits(3)
const EX_DATAERR = 65;
const EX_NOINPUT = 66;
const EX_UNAVAILABLE = 69;
const EX_CONFIG = 78;

/** The C that it writes, and the runtime that this C wants, change with it; wasm2c.h and runtime.c are for these. */
const WASM2C = ['1.0.32', '1.0.36'];
/** The functions that runtime.c implements. */
const IMPORTS = new Set([
  ...['abort', 'console.log', 'seed', 'Date.now'],
  ...['kerbside.refuse', 'kerbside.inputSize', 'kerbside.readInput', 'kerbside.writeOutput'],
]);
const ENTRY = 'kerbside-entry.ts';
const here = import.meta.dirname;

/** Of Node; TypeScript knows it only with the types of a browser. */
declare const WebAssembly: {
  readonly Module: {
    new (bytes: Uint8Array): object;
    imports(module: object): { readonly module: string; readonly name: string }[];
  };
};

class BuildEnd extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

async function build(source: string, image: string): Promise<void> {
  const { typescript, state } = await readTaskFile(source);
  if (typescript === undefined) {
    throw new BuildEnd(
      EX_CONFIG,
      `${join(source, 'task.yaml')}: typescript: is missing; a task in TypeScript says there its name, memory, maxInput and maxOutput`,
    );
  }
  const { name, memory } = typescript;
  // Those of its caller: the state comes on top of them.
  const room = state === undefined ? 0 : stateRoom(state.maxBytes);
  const [maxInput, maxOutput] = [typescript.maxInput + room, typescript.maxOutput + room];
  const file = join(source, `${name}.ts`);
  if (!existsSync(file)) throw new BuildEnd(EX_NOINPUT, `${file} is missing: a task in TypeScript starts in NAME.ts`);
  const version = run('wasm2c', ['--version']).stdout.trim();
  if (!WASM2C.includes(version)) {
    const known = 'this build knows 1.0.32 (Debian 12) and 1.0.36 (Debian 13)';
    throw new BuildEnd(EX_UNAVAILABLE, `wasm2c of version ${version} cannot build a task in TypeScript: ${known}`);
  }

  const work = mkdtempSync(join(tmpdir(), 'kerb-typescript-'));
  try {
    const wasm = join(work, 'module.wasm');
    await compile(source, name, wasm);
    checkImports(readFileSync(wasm), source);
    if (run('wasm2c', [wasm, '-n', 'module', '-o', join(work, 'module.c')]).status !== 0) {
      throw new BuildEnd(EX_DATAERR, 'wasm2c failed; its message is above');
    }
    rmSync(wasm);
    for (const file of ['task.c', 'runtime.c']) copyFileSync(join(here, file), join(work, file));
    const defines = { NAME: `"${name}"`, MEMORY: memory, MAX_INPUT: maxInput, MAX_OUTPUT: maxOutput };
    const text = Object.entries(defines).map(([key, value]) => `#define ${key} ${value}\n`);
    // The header that task.c includes brings them along: no quotation marks have to pass a shell.
    writeFileSync(join(work, 'module.h'), `${text.join('')}${readFileSync(join(work, 'module.h'), 'utf8')}`);
    // Written by a machine: what it leaves unused is nobody's concern. An assert() would put this folder into the
    // image.
    const flags = `-w -DNDEBUG -include ${join(here, 'wasm2c.h')} -I ${here} -I ${join(here, '../libos')}`;
    const { status } = spawnSync(join(here, '../build-task.sh'), [work, image], {
      stdio: 'inherit',
      env: { ...process.env, KERB_TASK_CFLAGS: flags },
    });
    if (status !== 0) throw new BuildEnd(status ?? EX_DATAERR, '');
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The files are named from the task's folder, so that the same sources give the same image wherever they lie. */
async function compile(source: string, name: string, wasm: string): Promise<void> {
  const entry = readFileSync(join(here, 'entry.ts'), 'utf8').replaceAll('"./TASK"', JSON.stringify(`./${name}`));
  const base = resolve(source);
  // Ten megabytes of program: who has no task.yaml is told so without them.
  const asc = await import('assemblyscript/asc');
  const { error } = await asc.main(
    [
      // asc takes the path of a library from the base directory.
      ...[ENTRY, '--baseDir', base, '--lib', relative(base, join(here, 'lib')), '--outFile', wasm],
      ...['--optimizeLevel', '3', '--shrinkLevel', '0', '--runtime', 'incremental'],
    ],
    {
      stdout: process.stderr,
      stderr: process.stderr,
      readFile: (path, from) => {
        if (path === ENTRY) return entry;
        const full = resolve(base, from, path);
        return existsSync(full) ? readFileSync(full, 'utf8') : null;
      },
    },
  );
  if (error !== null) throw new BuildEnd(EX_DATAERR, '');
}

function checkImports(wasm: Buffer, source: string): void {
  for (const { module, name } of WebAssembly.Module.imports(new WebAssembly.Module(wasm))) {
    if (module === 'env' && IMPORTS.has(name)) continue;
    throw new BuildEnd(
      EX_DATAERR,
      `${source} uses ${module}.${name}, which a unikernel has not; there is console.log, Math.random, Date.now and refuse`,
    );
  }
}

function run(program: string, args: string[]): { status: number | null; stdout: string } {
  const { status, stdout, error } = spawnSync(program, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  if (error !== undefined) throw new BuildEnd(EX_UNAVAILABLE, `cannot run ${program} (${error.message}): install wabt`);
  return { status, stdout };
}

const [source, image] = process.argv.slice(2);
try {
  await build(source!, resolve(image!));
} catch (error) {
  if (error instanceof BuildEnd) {
    if (error.message !== '') process.stderr.write(`build-task.sh: ${error.message}\n`);
    process.exitCode = error.code;
  } else if (isKerbError(error)) {
    process.stderr.write(`build-task.sh: ${error.message}\n`);
    process.exitCode = EX_CONFIG;
  } else {
    throw error;
  }
}

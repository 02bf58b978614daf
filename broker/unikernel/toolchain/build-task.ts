import { spawn } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { ErrorCode, KerbError, messageOf } from '../../../shared/base/errors.ts';
import { readFault } from '../../../shared/host/read-fault.ts';
import { withWorkFolder } from '../../../shared/host/work-folder.ts';
import { type Architecture, hostArchitecture } from '../../../shared/task-package/architecture.ts';
import {
  costSchema,
  isolationSchema,
  isTaskName,
  stateSchema,
  versionSchema,
} from '../../../shared/task-package/format.ts';
import { buildTaskPackage } from '../../../shared/task-package/writer.ts';
import { parseDuration } from '../../../shared/text/duration.ts';
import { plainIssue } from '../../../shared/text/plain-issue.ts';

/** Beside a task's source: what that cannot say. C says its name and sizes itself, by KERB_TASK. */
export const TASK_FILE = 'task.yaml';

const UNIT = { KiB: 1024, MiB: 1024 * 1024 } as const;
const sizeSchema = z
  .string()
  .regex(/^\d{1,10}( ?[KM]iB)?$/, 'is not a valid size: it must be like 4096, 64 KiB or 2 MiB')
  .transform((text) => Number.parseInt(text, 10) * (UNIT[text.slice(-3) as keyof typeof UNIT] ?? 1));

/** Milliseconds. */
const durationSchema = z.string().transform((text, context) => {
  try {
    return parseDuration(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) });
    return z.NEVER;
  }
});

const taskFileSchema = z.strictObject({
  version: versionSchema,
  isolation: isolationSchema.default('any'),
  /** How long a call is expected to take, like 5ms; in milliseconds from here on. */
  cost: durationSchema.pipe(costSchema).optional(),
  /** It takes the state of a session with its input, and gives the next one with its output. */
  state: z
    .strictObject({ max: sizeSchema, ttl: durationSchema.optional() })
    .transform(({ max: maxBytes, ttl }) => ({ maxBytes, ...(ttl !== undefined && { ttlMs: ttl }) }))
    .pipe(stateSchema)
    .optional(),
  /** The values that KERB_TASK declares in C. Sizes in bytes. */
  typescript: z
    .strictObject({
      name: z.string().refine(isTaskName, 'is not a valid name: it must be 1 to 63 of a-z, 0-9 and -'),
      memory: sizeSchema,
      maxInput: sizeSchema,
      maxOutput: sizeSchema,
    })
    .optional(),
});

export type TaskFile = z.infer<typeof taskFileSchema>;

const BUILD_SCRIPT = join(import.meta.dirname, '../build-task.sh');

/** @throws KerbError BadConfig that names the file and the key */
export async function readTaskFile(dir: string): Promise<TaskFile> {
  const path = join(dir, TASK_FILE);
  const bad = (what: string, cause?: unknown) =>
    new KerbError(ErrorCode.BadConfig, `${path}: ${what}`, { path }, cause === undefined ? undefined : { cause });
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw bad(`cannot be read: ${readFault(error)}; a task needs one, for example "version: 1.0.0"`, error);
  }
  let value: unknown;
  try {
    value = parse(text, { schema: 'failsafe' }); // all scalars are text: 1.10 is not 1.1
  } catch (error) {
    throw bad(`is not valid YAML: ${messageOf(error)}`, error);
  }
  const result = taskFileSchema.safeParse(value, { error: plainIssue });
  if (result.success) return result.data;
  // A key that is misspelt is missing too: the one that is there is what the person has to look at.
  const unknown = result.error.issues.find(({ code }) => code === 'unrecognized_keys');
  if (unknown?.code === 'unrecognized_keys') {
    const known = Object.keys(taskFileSchema.shape).join(' and ');
    throw bad(`unknown key ${unknown.keys.map((key) => `"${key}"`).join(', ')}; a ${TASK_FILE} has ${known}`);
  }
  const issue = result.error.issues[0]!;
  throw bad(`${issue.path.join('.') || 'the file'}: ${issue.message}`);
}

/**
 * Compiles the task in `dir` for each of these architectures and packages the images into the directory `out`. What the
 * compiler says goes to standard error as it is. The result depends on nothing but the sources and the tools.
 * @param architectures without repetition; default: that of this machine
 * @returns the digest of the package
 * @throws KerbError BadConfig (task.yaml), BadTaskPackage (it does not compile, or is no task), SetupIncomplete,
 * WrongArchitecture
 */
export async function buildTask(
  dir: string,
  out: string,
  architectures: readonly Architecture[] = ownArchitecture(),
): Promise<string> {
  await checkFolder(dir);
  const { version, isolation, cost: costMs, state } = await readTaskFile(dir);
  return await withWorkFolder('kerb-task-', async (work) => {
    const images: Buffer[] = [];
    // One after the other: an error in the source is printed once.
    for (const architecture of architectures) {
      const image = join(work, `${architecture}.elf`);
      await compile(dir, image, architecture);
      images.push(await readFile(image));
    }
    return await buildTaskPackage(out, { images, version, isolation, costMs, ...(state && { state }) });
  });
}

/** @throws KerbError BadConfig that says what a task is made of */
async function checkFolder(dir: string): Promise<void> {
  const takes = `a folder with ${TASK_FILE} and either C files (*.c, with KERB_TASK) or a task in TypeScript (NAME.ts)`;
  const bad = (what: string, cause?: unknown) =>
    new KerbError(ErrorCode.BadConfig, `${dir} ${what}: kerb task build takes ${takes}`, { path: dir }, { cause });
  const found = await stat(dir).catch((cause: unknown) => {
    throw bad(`cannot be read: ${readFault(cause)}`, cause);
  });
  if (!found.isDirectory())
    throw bad(dir.endsWith('.wasm') ? 'is a WebAssembly file, not its sources' : 'is not a folder');
}

function ownArchitecture(): Architecture[] {
  const own = hostArchitecture();
  if (own !== undefined) return [own];
  throw new KerbError(
    ErrorCode.WrongArchitecture,
    `no task is built for ${process.arch}, the architecture of this machine; name others, like x86_64`,
  );
}

// sysexits(3), as the script uses them.
const EX_UNAVAILABLE = 69;
const COMMAND_NOT_FOUND = 127;

function compile(dir: string, image: string, architecture: Architecture): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(BUILD_SCRIPT, [dir, image], {
      stdio: ['ignore', 2, 2],
      env: { ...process.env, KERB_ARCH: architecture },
    });
    child.once('error', (cause) => {
      reject(
        new KerbError(ErrorCode.SetupIncomplete, `cannot run ${BUILD_SCRIPT}: ${messageOf(cause)}`, {}, { cause }),
      );
    });
    child.once('close', (code, signal) => {
      if (code === 0) {
        resolve();
      } else if (code === EX_UNAVAILABLE || code === COMMAND_NOT_FOUND) {
        reject(
          new KerbError(
            ErrorCode.SetupIncomplete,
            'the tools that build tasks are missing (see above); run: npm run setup',
          ),
        );
      } else {
        const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
        reject(
          new KerbError(ErrorCode.BadTaskPackage, `the task in ${dir} does not build (see above; ${how})`, { dir }),
        );
      }
    });
  });
}

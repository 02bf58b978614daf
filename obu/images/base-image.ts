import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Engine } from '../engine/docker-client.ts';
import { type BuiltImage, importUnlessThere, type Progress } from './build.ts';
import { type ContentFile, filesBelow } from './content.ts';

/** The base image of workloads in JavaScript or TypeScript: `FROM kerbside/app:24`. */
export const BASE_IMAGE = 'kerbside/app:24';

const root = join(import.meta.dirname, '../..');
const sdk = join(root, 'build/app-sdk');

const instructions = ['ENV PATH=/usr/bin NODE_ENV=production', 'WORKDIR /app', 'USER 10001:10001'];

/**
 * Builds the base image with no registry: the `node` that runs this program, the shared libraries that it needs, and
 * the app SDK with its dependencies in /node_modules.
 * @throws KerbError ImageBuildFailed
 */
export async function buildBaseImage(engine: Engine, progress: Progress): Promise<BuiltImage> {
  const node = realpathSync(process.execPath);
  const files: ContentFile[] = [
    { path: 'app', mode: 0o755, body: { empty: true } },
    { path: 'usr/bin/node', mode: 0o755, body: { file: node } },
    { path: 'etc/passwd', mode: 0o644, body: { text: 'root:x:0:0::/:\napp:x:10001:10001::/app:\n' } },
    { path: 'etc/group', mode: 0o644, body: { text: 'root:x:0:\napp:x:10001:\n' } },
    ...sharedLibraries(node).map((file) => ({ path: file.slice(1), mode: 0o755, body: { file: realpathSync(file) } })),
    ...(await packages()),
  ];
  return importUnlessThere(engine, BASE_IMAGE, files, instructions, progress);
}

/** Absolute paths of the loader and the libraries that a program is linked with, as `ldd` prints them. */
function sharedLibraries(program: string): string[] {
  let printed: string;
  try {
    printed = execFileSync('ldd', [program], { encoding: 'utf8' });
  } catch (error) {
    throw new KerbError(
      ErrorCode.ImageBuildFailed,
      `ldd cannot tell which libraries ${program} needs: ${messageOf(error)}`,
    );
  }
  return parseLdd(printed);
}

/** "libm.so.6 => /lib/libm.so.6 (0x…)" and "/lib64/ld-linux.so.2 (0x…)". @throws KerbError ImageBuildFailed */
export function parseLdd(printed: string): string[] {
  const libraries: string[] = [];
  for (const line of printed.split('\n')) {
    if (line.includes('not found')) {
      throw new KerbError(ErrorCode.ImageBuildFailed, `a library that node needs is missing: ${line.trim()}`);
    }
    const path = /(\/\S+) \(0x[0-9a-f]+\)$/.exec(line)?.[1];
    if (path !== undefined) libraries.push(path);
  }
  return libraries;
}

async function packages(): Promise<ContentFile[]> {
  if (!existsSync(join(sdk, 'package.json'))) {
    throw new KerbError(ErrorCode.ImageBuildFailed, `${sdk} is missing; run tools/build-app-sdk.sh, as set-up does`);
  }
  const files = await below(sdk, 'node_modules/@kerbside/app-sdk');
  for (const [name, folder] of dependenciesOf(sdk)) files.push(...(await below(folder, `node_modules/${name}`)));
  return files;
}

/** The runtime dependencies of a package, transitively, by name. One version of each: npm has put them side by side. */
function dependenciesOf(folder: string, found = new Map<string, string>()): Map<string, string> {
  const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    dependencies?: Record<string, string>;
  };
  for (const name of Object.keys(dependencies)) {
    if (found.has(name)) continue;
    const where = resolvePackage(name, folder);
    found.set(name, where);
    dependenciesOf(where, found);
  }
  return found;
}

function resolvePackage(name: string, from: string): string {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name);
    if (existsSync(join(candidate, 'package.json'))) return candidate;
    if (folder === dirname(folder)) {
      throw new KerbError(ErrorCode.ImageBuildFailed, `package ${name} is missing; run npm ci, as set-up does`);
    }
  }
}

/** Code and licences of a package; what only people and compilers read stays outside. */
async function below(folder: string, prefix: string): Promise<ContentFile[]> {
  const files = await filesBelow(folder);
  return files
    .filter(
      ({ path }) =>
        !/(^|\/)node_modules\/|\.(map|md|d\.ts|d\.cts|d\.mts)$|(^|\/)dist\/(light|minimal)?\/?[^/]*protobuf/.test(path),
    )
    .map((file) => ({ ...file, path: `${prefix}/${file.path}` }));
}

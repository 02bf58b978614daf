import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** A source file of the repository and what it names of others, all as paths from the repository's top. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
  /** Files that it imports, types included. */
  readonly imports: readonly string[];
  /** Other relative paths that it names in strings, such as `new URL('../x.dbc', import.meta.url)`. */
  readonly paths: readonly string[];
}

const IMPORT = /(?:\bfrom|\bimport)\s*\(?\s*['"](\.{1,2}\/[^'"\n]+)['"]/g;
const STRING_PATH = /['"`]((?:\.\.\/)+[a-z][\w./-]*)['"`]/g;

/** The TypeScript files that git tracks or would add, with what each one names of others. */
export function sourceFiles(top: string): SourceFile[] {
  return filesOf(top, ['*.ts']).map(({ path, text }) => {
    const from = (name: string) => normalize(join(dirname(path), name));
    const imports = [...text.matchAll(IMPORT)].map((match) => from(match[1] as string));
    const paths = [...text.matchAll(STRING_PATH)].map((match) => from(match[1] as string));
    return { path, text, imports, paths: paths.filter((name) => !imports.includes(name)) };
  });
}

/** The sources in C, C++ and assembler that git tracks or would add. */
export function nativeFiles(top: string): Pick<SourceFile, 'path' | 'text'>[] {
  return filesOf(top, ['*.c', '*.cpp', '*.h', '*.S']);
}

function filesOf(top: string, patterns: readonly string[]): { path: string; text: string }[] {
  const list = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', ...patterns], {
    cwd: top,
    encoding: 'utf8',
  });
  return list
    .split('\n')
    .filter((path) => path !== '')
    .flatMap((path) => {
      try {
        return [{ path, text: readFileSync(join(top, path), 'utf8') }];
      } catch {
        return []; // Deleted, and not yet committed.
      }
    });
}

/** The longest of `layers` that `path` lies in, or undefined. */
export function layerOf(path: string, layers: readonly string[]): string | undefined {
  return layers
    .filter((layer) => path.startsWith(`${layer}/`))
    .sort((a, b) => b.length - a.length)
    .at(0);
}

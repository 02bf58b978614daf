import { type Alias, type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import type { ErrorCode } from '../shared/errors.ts';
import { KerbError } from '../shared/errors.ts';

const MAX_SYNTAX_ERRORS = 5;
/** Characters; a file that is no YAML at all may be quoted in full. */
const MAX_MESSAGE = 300;

/** One thing that is wrong with a YAML file, and where. Lines and columns count from 1. */
export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** "services.lane-filter.mem_limit", "brokers[0].url"; empty for the file as a whole. */
  readonly key: string;
  readonly message: string;
}

/** Says what a key that the schema doesn't know should tell the person. `path` is where it stands, without the key. */
export type ExplainUnknownKey = (path: readonly PropertyKey[], key: string) => string | undefined;

export interface YamlSource<T> {
  readonly file: string;
  readonly schema: z.ZodType<T>;
  /** Code of the KerbError. */
  readonly code: ErrorCode;
  readonly explainUnknownKey?: ExplainUnknownKey;
  /** Keys that the schema knows at a path, to guess what a typo meant. */
  readonly knownKeys?: (path: readonly PropertyKey[]) => readonly string[];
}

export interface ParsedYaml<T> {
  readonly value: T;
  /** A problem at this path, for checks that come after the schema. */
  problem(path: readonly PropertyKey[], message: string): Problem;
}

/**
 * Reads YAML text against a schema.
 * @throws KerbError with the code of the source; its message names file, line and key of the first problem,
 * `context.problems` holds all of them.
 */
export function parseYaml<T>(text: string, source: YamlSource<T>): ParsedYaml<T> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, merge: true, prettyErrors: false });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const problemAt = (offset: number, key: string, message: string): Problem => ({
    file: source.file,
    ...at(offset),
    key,
    message,
  });
  const problem = (path: readonly PropertyKey[], message: string) =>
    problemAt(offsetOf(document, path), nameOf(path), message);

  if (document.errors.length > 0) {
    throw problemsError(
      source.code,
      // Where the syntax is broken, the rest follows from it.
      document.errors.slice(0, MAX_SYNTAX_ERRORS).map((error) => problemAt(error.pos[0], '', oneLine(error.message))),
    );
  }
  const result = source.schema.safeParse(toPlain(document, source));
  if (result.success) return { value: result.data, problem };

  const problems = result.error.issues.flatMap((issue): Problem[] => {
    if (issue.code !== 'unrecognized_keys') return [problem(issue.path, oneLine(issue.message))];
    return issue.keys.map((key) => {
      const said = source.explainUnknownKey?.(issue.path, key);
      const near = said === undefined ? nearest(key, source.knownKeys?.(issue.path) ?? []) : undefined;
      const message = said ?? `unknown key${near === undefined ? '' : `; did you mean \`${near}\`?`}`;
      return problem([...issue.path, key], message);
    });
  });
  problems.sort((a, b) => a.line - b.line || a.column - b.column);
  throw problemsError(source.code, problems);
}

/** As the README writes keys: items of lists by their number. */
function nameOf(path: readonly PropertyKey[]): string {
  return path
    .map((step, i) => (typeof step === 'number' ? `[${step}]` : i === 0 ? String(step) : `.${String(step)}`))
    .join('');
}

/** The one error for all problems of a file. */
export function problemsError(code: ErrorCode, problems: readonly Problem[]): KerbError {
  const first = problems[0]!;
  const more = problems.length - 1;
  const rest = more === 0 ? '' : ` (and ${more} more problem${more === 1 ? '' : 's'} in this file)`;
  return new KerbError(code, formatProblem(first) + rest, { file: first.file, problems });
}

/** "car.compose.yaml:12: services.a.image: …" */
export function formatProblem(problem: Problem): string {
  return `${problem.file}:${problem.line}: ${problem.key === '' ? '' : `${problem.key}: `}${problem.message}`;
}

/** All problems of an error that `parseYaml` threw, one line each; the message alone for any other error. */
export function problemLines(error: KerbError): string[] {
  const problems = error.context.problems;
  return Array.isArray(problems) ? (problems as Problem[]).map(formatProblem) : [error.message];
}

/** The known word that a person most likely meant: at most two edits away, one for short words. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const allowed = word.length <= 4 ? 1 : 2;
  let best: string | undefined;
  let bestDistance = allowed + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(previous[j]! + 1, row[j - 1]! + 1, substitution));
    }
    previous = row;
  }
  return previous[b.length]!;
}

function toPlain(document: Document, source: { file: string; code: ErrorCode }): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    // Unresolved or runaway aliases: yaml reports them only here, without a position.
    const message = oneLine(error instanceof Error ? error.message : String(error));
    throw problemsError(source.code, [{ file: source.file, line: 1, column: 1, key: '', message }]);
  }
}

/** Offset of the key (or list item) that a path leads to; of the nearest parent where the path itself is absent. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const step of path) {
    if (isAlias(node)) node = (node as Alias).resolve(document);
    if (isMap(node)) {
      const pair = node.items.find((item) => String(isScalar(item.key) ? item.key.value : item.key) === String(step));
      if (pair === undefined) return offset;
      offset = startOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      // A word in a list leads to the item that says it.
      const item =
        typeof step === 'number' ? node.items[step] : node.items.find((one) => isScalar(one) && one.value === step);
      if (item === undefined) return offset;
      offset = startOf(item) ?? offset;
      node = item;
    } else {
      return offset;
    }
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) && node.range ? node.range[0] : undefined;
}

function oneLine(text: string): string {
  const line = text.replaceAll(/\s*\n\s*/g, ' ').trim();
  return line.length <= MAX_MESSAGE ? line : `${line.slice(0, MAX_MESSAGE)}…`;
}

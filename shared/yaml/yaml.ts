import { type Alias, type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import type { ErrorCode } from '../base/errors.ts';
import { plainIssue } from '../text/plain-issue.ts';
import { type Problem, problemsError } from './problem.ts';
import { checkReferences, findUnprintable, syntaxSentence, visitValues } from './yaml-syntax.ts';

const MAX_SYNTAX_ERRORS = 5;
/** Characters; a file that is no YAML at all may be quoted in full. */
const MAX_MESSAGE = 300;

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
  /** Looks at each value that is neither map nor list before the schema does; may say what is wrong, or put another in its place. */
  readonly eachScalar?: EachScalar;
  /** What the schema gets to see in place of the whole file, such as without keys that are to be passed over. */
  readonly prepare?: (value: unknown) => unknown;
}

/** A value as it stands in the file. */
export interface YamlScalar {
  readonly path: readonly PropertyKey[];
  /** As it is written; undefined in quotes and in blocks, where it is a text whatever it looks like. */
  readonly plain: string | undefined;
  /** Whole numbers are bigint here. */
  readonly value: unknown;
}

/** Returns what is wrong with a value, or another value for it; undefined when it is good as it is. */
export type EachScalar = (scalar: YamlScalar) => { readonly fault: string } | { readonly value: unknown } | undefined;

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
  const document = parseText(text, source, lines);
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

  // Where the syntax is broken, the rest follows from it.
  const faults = [...document.errors, ...document.warnings].slice(0, MAX_SYNTAX_ERRORS);
  let problems = withoutRepeats(faults.map((fault) => problemAt(fault.pos[0], '', syntaxSentence(fault))));
  if (problems.length === 0) {
    checkReferences(document, (offset, path, message) => problems.push(problemAt(offset, nameOf(path), message)));
  }
  if (problems.length > 0) throw problemsError(source.code, problems);

  const ofScalars = source.eachScalar === undefined ? [] : scalarProblems(document, source.eachScalar, problem);
  const plain = toPlain(document, source);
  const result = source.schema.safeParse(source.prepare === undefined ? plain : source.prepare(plain), {
    error: plainIssue,
  });
  if (result.success && ofScalars.length === 0) return { value: result.data, problem };

  const found = (result.error?.issues ?? []).flatMap((issue): Problem[] => {
    if (issue.code !== 'unrecognized_keys') return [problem(issue.path, oneLine(issue.message))];
    return issue.keys.map((key) => problem([...issue.path, key], unknownKey(source, issue.path, key)));
  });
  problems = onePerValue(found, ofScalars);
  problems.sort((a, b) => a.line - b.line || a.column - b.column);
  throw problemsError(source.code, problems);
}

/** What is said of a line once is enough. */
function withoutRepeats(problems: readonly Problem[]): Problem[] {
  return problems.filter(
    ({ line, message }, i) => problems.findIndex((one) => one.line === line && one.message === message) === i,
  );
}

/** Of one value one thing that is wrong is enough. Of a text that could not be taken the schema saw what was meant by nobody. */
function onePerValue(found: readonly Problem[], ofScalars: readonly ScalarProblem[]): Problem[] {
  const texts = new Set(ofScalars.flatMap(({ key, isText }) => (isText ? [key] : [])));
  const rest = found.filter(({ key }) => !texts.has(key));
  const known = new Set(rest.map(({ key }) => key));
  const scalars = ofScalars.filter(({ key }) => !known.has(key));
  return [...rest, ...scalars.map(({ isText: _, ...problem }) => problem)];
}

function unknownKey<T>(source: YamlSource<T>, path: readonly PropertyKey[], key: string): string {
  const said = source.explainUnknownKey?.(path, key);
  if (said !== undefined) return said;
  const near = nearest(key, source.knownKeys?.(path) ?? []);
  if (near === undefined) return 'unknown key';
  const refused = source.explainUnknownKey?.(path, near);
  return `unknown key; did you mean \`${near}\`?${refused === undefined ? '' : ` That ${refused}`}`;
}

/** What is wrong with one value, whatever it is for. */
interface ScalarProblem extends Problem {
  readonly isText: boolean;
}

type Source = Pick<YamlSource<unknown>, 'file' | 'code'>;

/** Always as YAML 1.2 with its core schema, whatever a `%YAML` line says. @throws KerbError for what cannot be parsed at all */
function parseText(text: string, { file, code }: Source, lines: LineCounter): Document {
  const stray = findUnprintable(text);
  if (stray !== undefined) {
    const before = text.slice(0, stray.offset).split(/\r\n|\n/);
    const place = { line: before.length, column: before.at(-1)!.length + 1 };
    throw problemsError(code, [{ file, ...place, key: '', message: stray.message }]);
  }
  const options = {
    lineCounter: lines,
    uniqueKeys: true,
    merge: true,
    prettyErrors: false,
    logLevel: 'error' as const,
    // A whole number of more than 53 bits keeps its digits.
    version: '1.2' as const,
    schema: 'core' as const,
    intAsBigInt: true,
    stringKeys: true,
  };
  try {
    const document = parseDocument(text, options);
    const { yaml } = document.directives ?? {};
    if (!yaml?.explicit || yaml.version === '1.2') return document;
    const message = `this file says that it is YAML ${yaml.version}, and it is read as YAML 1.2; remove the line`;
    throw problemsError(code, [{ file, line: 1, column: 1, key: '', message }]);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const message = 'lists and maps are too deep in one another';
    throw problemsError(code, [{ file, line: 1, column: 1, key: '', message }]);
  }
}

function scalarProblems(
  document: Document,
  eachScalar: EachScalar,
  problem: ParsedYaml<unknown>['problem'],
): ScalarProblem[] {
  const problems: ScalarProblem[] = [];
  visitValues(document, (node, path) => {
    if (!isScalar(node)) return;
    const plain = node.type === 'PLAIN' ? (node.source ?? '') : undefined;
    const answer = eachScalar({ path, plain, value: node.value });
    if (answer === undefined) return;
    if ('fault' in answer) problems.push({ ...problem(path, answer.fault), isText: typeof node.value === 'string' });
    else node.value = answer.value;
  });
  return problems;
}

/** As the README writes keys: items of lists by their number. */
function nameOf(path: readonly PropertyKey[]): string {
  return path
    .map((step, i) => (typeof step === 'number' ? `[${step}]` : i === 0 ? String(step) : `.${String(step)}`))
    .join('');
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

function toPlain(document: Document, { file, code }: Source): unknown {
  try {
    return withNumbers(document.toJS({ maxAliasCount: 100 }));
  } catch {
    // All else has been looked at: too many values come of too few lines.
    const message = 'its aliases (`*name`) make far more values than the file has; write them out';
    throw problemsError(code, [{ file, line: 1, column: 1, key: '', message }]);
  }
}

/** Whole numbers that a JavaScript number holds exactly become one; others stay bigint. */
function withNumbers(value: unknown, seen = new Map<unknown, unknown>()): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }
  if (value === null || typeof value !== 'object') return value;
  const known = seen.get(value); // an alias
  if (known !== undefined) return known;
  if (Array.isArray(value)) {
    const list: unknown[] = [];
    seen.set(value, list);
    for (const item of value) list.push(withNumbers(item, seen));
    return list;
  }
  const map: Record<string, unknown> = {};
  seen.set(value, map);
  for (const [key, item] of Object.entries(value)) {
    // `__proto__` as a key is a key like any other.
    Object.defineProperty(map, key, {
      value: withNumbers(item, seen),
      enumerable: true,
      writable: true,
      configurable: true,
    });
  }
  return map;
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

import { createRequire } from 'node:module';
import { InvalidArgumentError, Option } from 'commander';
import { messageOf } from '../../shared/base/errors.ts';
import { parseDuration } from '../../shared/text/duration.ts';
import { table } from '../../shared/text/table.ts';

/** Loaded by whoever prints YAML: it takes a command as long as starting does. */
function stringify(value: unknown): string {
  const yaml = createRequire(import.meta.url)('yaml') as typeof import('yaml');
  return yaml.stringify(value);
}

export type OutputFormat = 'table' | 'json' | 'yaml';

export function outputOption(): Option {
  return new Option('-o, --output <format>', 'how to print it').choices(['table', 'json', 'yaml']).default('table');
}

/** Prints a value: as lines for people, or whole for programs. */
export function show<Value>(format: OutputFormat, value: Value, lines: (value: Value) => readonly string[]): void {
  if (format === 'json') print(JSON.stringify(value, undefined, 2));
  else if (format === 'yaml') process.stdout.write(stringify(value));
  else for (const line of lines(value)) print(line);
}

/** Prints one of many values that come one after the other: JSON in one line, YAML as a document of its own. */
export function showNext<Value>(format: OutputFormat, value: Value, lines: (value: Value) => readonly string[]): void {
  if (format === 'json') print(JSON.stringify(value));
  else if (format === 'yaml') process.stdout.write(`---\n${stringify(value)}`);
  else for (const line of lines(value)) print(line);
}

/** A head and rows below it; a sentence when there are none. */
export function rowsOf(head: readonly string[], rows: readonly (readonly string[])[], none: string): string[] {
  return rows.length === 0 ? [none] : table([head, ...rows]);
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Progress goes to standard error, so that standard output has only the answer. */
export function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Shows lines in place of those before on a terminal, and after them elsewhere. */
export function redraw(lines: readonly string[]): void {
  const { stdout } = process;
  if (!stdout.isTTY) {
    for (const line of [...lines, '']) print(line);
    return;
  }
  const { columns, rows } = stdout;
  const shown = lines.slice(0, Math.max(1, rows - 1)).map((line) => `${line.slice(0, columns)}\u001b[K`);
  stdout.write(`\u001b[H${shown.join('\n')}\n\u001b[J`);
}

/** Runs a job that SIGINT and SIGTERM ask to end; a second one ends the command at once. */
export async function interruptible<T>(job: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    return await job(stop.signal);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}

/** For options: "30s" into milliseconds. */
export function toDuration(text: string): number {
  try {
    return parseDuration(text);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
}

/** For options. */
export function toCount(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('a whole number is needed');
}

import { type ErrorCode, KerbError } from '../base/errors.ts';

/** One thing that is wrong with a YAML file, and where. Lines and columns count from 1. */
export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** "services.lane-filter.mem_limit", "brokers[0].url"; empty for the file as a whole. */
  readonly key: string;
  readonly message: string;
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

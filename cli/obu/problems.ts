import { isKerbError, KerbError } from '../../shared/base/errors.ts';
import { problemLines } from '../../shared/yaml/problem.ts';
import { progress } from '../lib/output.ts';

/**
 * Prints every problem of a file in a line of its own, when there are several.
 * @returns the error to throw: with several problems one that counts them, so that none is printed twice
 */
export function withAllProblems(error: unknown): unknown {
  if (!isKerbError(error)) return error;
  const lines = problemLines(error);
  if (lines.length < 2) return error;
  for (const line of lines) progress(`kerb: ${line}`);
  const file = String(error.context.file ?? 'the file');
  return new KerbError(error.code, `${file} has ${lines.length} problems; nothing was changed`, error.context);
}

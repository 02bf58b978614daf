import { CommanderError } from 'commander';
import { errorName, isKerbError, messageOf } from '../shared/base/errors.ts';
import { createProgram } from './program.ts';

/** Exit codes of every `kerb` command; the README lists them. */
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/**
 * Runs one command; what it has to say goes to standard output and standard error.
 * @param argv without the program
 * @returns its exit code
 */
export async function runCommand(argv: readonly string[]): Promise<number> {
  const program = await createProgram(argv[0]);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE; // it has printed its message
    if (isKerbError(error)) {
      process.stderr.write(`kerb: ${error.message} [${error.code} ${errorName(error.code)}]\n`);
    } else {
      // Not one of ours: a defect. The stack is what its finder needs.
      process.stderr.write(`kerb: ${messageOf(error)}\n${error instanceof Error ? error.stack : ''}\n`);
    }
    return EXIT_FAILED;
  }
}

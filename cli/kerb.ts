import { CommanderError } from 'commander';
import { errorName, isKerbError, messageOf } from '../shared/base/errors.ts';
import { createProgram } from './program.ts';

/** Exit codes of every `kerb` command; the README lists them. */
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/**
 * A daemon that somebody started as a child may be asked to stop when its standard input ends: the kernel closes that
 * even when the parent was killed, and so nothing is left behind.
 */
function stopWithStdin(): void {
  if (process.env.KERB_STOP_WITH_STDIN !== '1') return;
  delete process.env.KERB_STOP_WITH_STDIN; // only for us, not for our own children
  process.stdin.on('end', () => process.kill(process.pid, 'SIGTERM'));
  process.stdin.on('error', () => process.kill(process.pid, 'SIGTERM'));
  process.stdin.resume();
  // It must not keep alive a command that is done. (`unref` is there for pipes, not for files.)
  if ('unref' in process.stdin) (process.stdin as { unref(): void }).unref();
}

async function main(argv: readonly string[]): Promise<number> {
  stopWithStdin();
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

// A pipe whose reader went away (`kerb … | head`) is the end of the job, not a defect.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await main(process.argv.slice(2));

import { runCommand } from './run.ts';

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

// A pipe whose reader went away (`kerb … | head`) is the end of the job, not a defect.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

stopWithStdin();
process.exitCode = await runCommand(process.argv.slice(2));

import { cpus } from 'node:os';
import { onPath } from './peer.ts';

const canPin = cpus().length >= 2 && onPath('taskset') !== undefined && onPath('nice') !== undefined;

/** Where the two ends of a measurement run, for the table. */
export const PINNING = canPin ? 'broker and tenders on core 0, clients on core 1' : 'not pinned';

/**
 * The command line of Node with a file in TypeScript, on one core where there are two.
 * @param niceness below 0 is taken as 0 unless this is root
 */
export function pinned(core: 0 | 1, niceness: number, args: readonly string[]): readonly [string, string[]] {
  const node = ['--disable-warning=ExperimentalWarning', ...args];
  if (!canPin) return [process.execPath, node];
  const nice = process.getuid?.() === 0 ? niceness : Math.max(0, niceness);
  return ['nice', ['-n', String(nice), 'taskset', '-c', String(core), process.execPath, ...node]];
}

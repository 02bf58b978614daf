import type { Command } from 'commander';
import { repeat } from '../../shared/base/pause.ts';
import { interruptible, type OutputFormat, redraw, show, showNext } from './output.ts';

/** How often a command that watches looks again, in milliseconds. */
export const REFRESH_MS = 1000;

/** The option of commands that can show the same thing again and again. */
export function withWatch(command: Command): Command {
  return command.option('-w, --watch', 'watch: show it again once a second, until Ctrl-C');
}

/** Shows what `look` gives: once, or in place of the one before until Ctrl-C. */
export async function showRepeatedly<Value>(
  watch: boolean | undefined,
  output: OutputFormat,
  look: () => Promise<Value>,
  lines: (value: Value) => readonly string[],
): Promise<void> {
  if (!watch) {
    show(output, await look(), lines);
    return;
  }
  await interruptible((signal) =>
    repeat(REFRESH_MS, signal, async () => {
      const value = await look();
      if (output === 'table') redraw(lines(value));
      else showNext(output, value, lines);
    }),
  );
}

import type { DaemonEvent } from '../../shared/api/status.ts';

/** One event as one line. */
export function eventLine({ time, kind, name, word, message, repeats }: DaemonEvent): string {
  const again = repeats === 0 ? '' : ` (${repeats} more times)`;
  return `${time}  ${kind} ${name}: ${word}${message === '' ? '' : `: ${message}`}${again}`;
}

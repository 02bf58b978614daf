import type { ObuEvent } from '../../shared/api/obu.ts';

/** One event as one line. */
export function eventLine({ time, kind, name, word, message, repeats }: ObuEvent): string {
  const again = repeats === 0 ? '' : ` (${repeats} more times)`;
  return `${time}  ${kind} ${name}: ${word}${message === '' ? '' : `: ${message}`}${again}`;
}

/** The lines of a log, one after the other, however the file is cut into chunks and wherever it ends. */

/** Longest line of a log, in characters: a CAN FD frame takes less than 200. What is longer is not a log. */
const MAX_LINE = 4096;

export interface LogLine {
  readonly text: string;
  /** From 1 on. */
  readonly number: number;
  /** The file ends without ending this line: whoever wrote it may have been stopped in the middle. */
  readonly isUnfinished: boolean;
}

/** A line that is longer than any line of a log comes cut, so that it is refused and nothing is kept of the rest. */
export async function* logLines(input: AsyncIterable<Buffer | string>): AsyncGenerator<LogLine> {
  const decoder = new TextDecoder();
  let rest = '';
  let number = 0;
  for await (const chunk of input) {
    const lines = (rest + (typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true }))).split('\n');
    rest = lines.pop()!.slice(0, MAX_LINE);
    for (const text of lines) yield { text: text.slice(0, MAX_LINE), number: ++number, isUnfinished: false };
  }
  if (rest.trim() !== '') yield { text: rest, number: ++number, isUnfinished: true };
}

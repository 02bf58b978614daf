import { expect, it } from 'vitest';
import { logLines } from './replay-lines.ts';

async function linesOf(...chunks: (string | Buffer)[]) {
  async function* input() {
    yield* chunks;
  }
  const lines: [string, number, boolean][] = [];
  for await (const { text, number, isUnfinished } of logLines(input())) lines.push([text, number, isUnfinished]);
  return lines;
}

it('gives whole lines, however the file is cut, and says when the last one has no end', async () => {
  expect(await linesOf('ab', 'c\r\nd', '\n\nlast')).toEqual([
    ['abc\r', 1, false],
    ['d', 2, false],
    ['', 3, false],
    ['last', 4, true],
  ]);
  expect(await linesOf('a\n')).toEqual([['a', 1, false]]);
  expect(await linesOf('')).toEqual([]);
  expect(await linesOf(Buffer.from([0xc3]), Buffer.from([0xa4, 10]))).toEqual([['ä', 1, false]]);
});

it('keeps no more of a line than a line of a log can have', async () => {
  const lines = await linesOf(...Array.from({ length: 100 }, () => 'x'.repeat(65_536)), '\ny');
  expect(lines.map(([text, number]) => [text.length <= 2 * 65_536, number])).toEqual([
    [true, 1],
    [true, 2],
  ]);
  expect(lines[0]![0].length).toBe(4096);
});

import { describe, expect, it } from 'vitest';
import { splitCommand } from './values.ts';

describe('a command line', () => {
  it.each([
    ['a b  c', ['a', 'b', 'c']],
    [`a "b c" 'd "e"'`, ['a', 'b c', 'd "e"']],
    ['a\\ b "c\\"d" "\\n"', ['a b', 'c"d', '\\n']],
    [`a '' ""`, ['a', '', '']],
    ['  ', []],
  ])('%j is split as a shell would', (line, words) => {
    expect(splitCommand(line)).toEqual(words);
  });

  it.each(['"a', "a 'b"])('%j has an open quote', (line) => {
    expect(splitCommand(line)).toBeUndefined();
  });
});

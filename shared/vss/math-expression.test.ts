import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { compileFormula } from './math-expression.ts';

describe('compileFormula', () => {
  it.each([
    ['x', 3, 3],
    ['x+1*2', 3, 5],
    ['(x+1)*2', 3, 8],
    ['10-3-2', 0, 5],
    ['12/3/2', 0, 2],
    ['7%4', 0, 3],
    ['2^3^2', 0, 512],
    ['-x^2', 3, -9],
    ['2^-1', 0, 0.5],
    ['--x', 3, 3],
    ['+x', 3, 3],
    ['1.5e2 + .5', 0, 150.5],
    ['floor(x+0.5)', 133.2, 133],
    ['floor((x*40)-100)', 2, -20],
    ['(x+100)/40', -20, 2],
    ['floor(abs(x/5))', -12, 2],
    ['max(min(x, 10), 0)', 12, 10],
    ['sqrt(x) + pow(x, 2)', 4, 18],
    ['sin(PI/2) + log(E)', 0, 2],
    [' x \t* 2 ', 3, 6],
  ])('%s of %d is %d', (formula, x, value) => {
    expect(compileFormula(formula)(x)).toBeCloseTo(value, 12);
  });

  it.each([
    ['', 1, 'ends too early'],
    ['x +', 4, 'ends too early'],
    ['x y', 3, 'an operator is expected'],
    ['2 3', 3, 'an operator is expected'],
    ['(x', 3, '")" is expected'],
    ['x)', 2, 'an operator is expected'],
    ['y*2', 1, '"y" is unknown'],
    ['process.exit()', 1, '"process" is unknown'],
    ['constructor', 1, '"constructor" is unknown'],
    ['toString(x)', 1, '"toString" is unknown'],
    ['floor x', 7, '"(" is expected'],
    ['min(x)', 6, '"," is expected'],
    ['x = 2', 3, 'an operator is expected'],
    ['* x', 1, '"*" is not expected here'],
    [`${'('.repeat(100)}x${')'.repeat(100)}`, 65, 'nested too deeply'],
    [`${'-'.repeat(100_000)}x`, 66, 'nested too deeply'],
  ])('refuses %j and names the character', (formula, position, what) => {
    expect(() => compileFormula(formula)).toThrow(expect.objectContaining({ code: ErrorCode.BadSignalMapping }));
    expect(() => compileFormula(formula)).toThrow(
      new RegExp(`character ${position}: .*${what.replace(/[()*]/g, '\\$&')}`),
    );
  });
});

/**
 * The formulas of `transform.math` in Kuksa's mapping files: arithmetic over the CAN value `x`, in the notation of
 * py-expression-eval as far as arithmetic goes: + - * / % ^, parentheses, PI, E and the functions below.
 */
import { ErrorCode, KerbError } from '../base/errors.ts';

export type Formula = (x: number) => number;

const constants: Readonly<Record<string, number>> = { PI: Math.PI, E: Math.E };

const functions: Readonly<Record<string, { readonly arity: number; readonly call: (...a: number[]) => number }>> = {
  abs: { arity: 1, call: Math.abs },
  ceil: { arity: 1, call: Math.ceil },
  floor: { arity: 1, call: Math.floor },
  round: { arity: 1, call: Math.round },
  sqrt: { arity: 1, call: Math.sqrt },
  exp: { arity: 1, call: Math.exp },
  log: { arity: 1, call: Math.log },
  sin: { arity: 1, call: Math.sin },
  cos: { arity: 1, call: Math.cos },
  tan: { arity: 1, call: Math.tan },
  asin: { arity: 1, call: Math.asin },
  acos: { arity: 1, call: Math.acos },
  atan: { arity: 1, call: Math.atan },
  atan2: { arity: 2, call: Math.atan2 },
  pow: { arity: 2, call: Math.pow },
  min: { arity: 2, call: Math.min },
  max: { arity: 2, call: Math.max },
};

/** How deep parentheses may nest; no formula of a person comes near. */
const MAX_DEPTH = 64;

/**
 * Compiles a formula over `x`.
 * @throws KerbError BadSignalMapping with the formula and the position of the fault
 */
export function compileFormula(source: string): Formula {
  const tokens = [...source.matchAll(/\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_]\w*)|(\S))/g)];
  let at = 0;
  let depth = 0;

  const fail = (what: string): KerbError => {
    const token = tokens[at];
    const position = token === undefined ? source.length : token.index + token[0].length - token[0].trimStart().length;
    return new KerbError(ErrorCode.BadSignalMapping, `formula "${source}", character ${position + 1}: ${what}`, {
      position,
    });
  };
  const peek = () => tokens[at]?.[3];
  const expect = (mark: string) => {
    if (peek() !== mark) throw fail(`"${mark}" is expected`);
    at++;
  };

  const sum = (): Formula => {
    let left = product();
    for (let mark = peek(); mark === '+' || mark === '-'; mark = peek()) {
      at++;
      const [a, b] = [left, product()];
      left = mark === '+' ? (x) => a(x) + b(x) : (x) => a(x) - b(x);
    }
    return left;
  };
  const product = (): Formula => {
    let left = unary();
    for (let mark = peek(); mark === '*' || mark === '/' || mark === '%'; mark = peek()) {
      at++;
      const [a, b] = [left, unary()];
      left = mark === '*' ? (x) => a(x) * b(x) : mark === '/' ? (x) => a(x) / b(x) : (x) => a(x) % b(x);
    }
    return left;
  };
  const unary = (): Formula => {
    const mark = peek();
    if (mark !== '-' && mark !== '+') return power();
    at++;
    if (++depth > MAX_DEPTH) throw fail('it is nested too deeply');
    const operand = unary();
    depth--;
    return mark === '-' ? (x) => -operand(x) : operand;
  };
  const power = (): Formula => {
    const base = atom();
    if (peek() !== '^') return base;
    at++;
    const exponent = unary();
    return (x) => base(x) ** exponent(x);
  };
  const atom = (): Formula => {
    const token = tokens[at];
    if (token === undefined) throw fail('it ends too early');
    const [, number, name, mark] = token;
    if (++depth > MAX_DEPTH) throw fail('it is nested too deeply');
    try {
      if (number !== undefined) {
        at++;
        const value = Number(number);
        return () => value;
      }
      if (name !== undefined) return named(name);
      if (mark !== '(') throw fail(`"${mark}" is not expected here`);
      at++;
      const inner = sum();
      expect(')');
      return inner;
    } finally {
      depth--;
    }
  };
  const named = (name: string): Formula => {
    const constant = Object.hasOwn(constants, name) ? constants[name] : undefined;
    const known = Object.hasOwn(functions, name) ? functions[name] : undefined;
    if (name !== 'x' && constant === undefined && known === undefined) {
      throw fail(`"${name}" is unknown; there are x, PI, E, ${Object.keys(functions).join(', ')}`);
    }
    at++;
    if (name === 'x') return (x) => x;
    if (constant !== undefined) return () => constant;
    const { arity, call } = known!;
    expect('(');
    const first = sum();
    if (arity === 1) {
      expect(')');
      return (x) => call(first(x));
    }
    expect(',');
    const second = sum();
    expect(')');
    return (x) => call(first(x), second(x));
  };

  const formula = sum();
  if (at < tokens.length) throw fail('an operator is expected');
  return formula;
}

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
  return new FormulaParser(source).parse();
}

/** One method for each level of precedence, the weakest first. */
class FormulaParser {
  readonly #source: string;
  /** Of each match: a number, or a name, or a mark. */
  readonly #tokens: readonly RegExpExecArray[];
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#source = source;
    this.#tokens = [...source.matchAll(/\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_]\w*)|(\S))/g)];
  }

  parse(): Formula {
    const formula = this.#sum();
    if (this.#at < this.#tokens.length) throw this.#fail('an operator is expected');
    return formula;
  }

  #fail(what: string): KerbError {
    const token = this.#tokens[this.#at];
    const blanks = token === undefined ? 0 : token[0].length - token[0].trimStart().length;
    const position = token === undefined ? this.#source.length : token.index + blanks;
    const message = `formula "${this.#source}", character ${position + 1}: ${what}`;
    return new KerbError(ErrorCode.BadSignalMapping, message, { position });
  }

  /** The mark that comes next; undefined when it is none. */
  #peek(): string | undefined {
    return this.#tokens[this.#at]?.[3];
  }

  #expect(mark: string): void {
    if (this.#peek() !== mark) throw this.#fail(`"${mark}" is expected`);
    this.#at++;
  }

  #sum(): Formula {
    let left = this.#product();
    for (let mark = this.#peek(); mark === '+' || mark === '-'; mark = this.#peek()) {
      this.#at++;
      const [a, b] = [left, this.#product()];
      left = mark === '+' ? (x) => a(x) + b(x) : (x) => a(x) - b(x);
    }
    return left;
  }

  #product(): Formula {
    let left = this.#unary();
    for (let mark = this.#peek(); mark === '*' || mark === '/' || mark === '%'; mark = this.#peek()) {
      this.#at++;
      const [a, b] = [left, this.#unary()];
      left = mark === '*' ? (x) => a(x) * b(x) : mark === '/' ? (x) => a(x) / b(x) : (x) => a(x) % b(x);
    }
    return left;
  }

  #unary(): Formula {
    const mark = this.#peek();
    if (mark !== '-' && mark !== '+') return this.#power();
    this.#at++;
    if (++this.#depth > MAX_DEPTH) throw this.#fail('it is nested too deeply');
    const operand = this.#unary();
    this.#depth--;
    return mark === '-' ? (x) => -operand(x) : operand;
  }

  #power(): Formula {
    const base = this.#atom();
    if (this.#peek() !== '^') return base;
    this.#at++;
    const exponent = this.#unary();
    return (x) => base(x) ** exponent(x);
  }

  #atom(): Formula {
    const token = this.#tokens[this.#at];
    if (token === undefined) throw this.#fail('it ends too early');
    const [, number, name, mark] = token;
    if (++this.#depth > MAX_DEPTH) throw this.#fail('it is nested too deeply');
    try {
      if (number !== undefined) {
        this.#at++;
        const value = Number(number);
        return () => value;
      }
      if (name !== undefined) return this.#named(name);
      if (mark !== '(') throw this.#fail(`"${mark}" is not expected here`);
      this.#at++;
      const inner = this.#sum();
      this.#expect(')');
      return inner;
    } finally {
      this.#depth--;
    }
  }

  #named(name: string): Formula {
    const constant = Object.hasOwn(constants, name) ? constants[name] : undefined;
    const known = Object.hasOwn(functions, name) ? functions[name] : undefined;
    if (name !== 'x' && constant === undefined && known === undefined) {
      throw this.#fail(`"${name}" is unknown; there are x, PI, E, ${Object.keys(functions).join(', ')}`);
    }
    this.#at++;
    if (name === 'x') return (x) => x;
    if (constant !== undefined) return () => constant;
    const { arity, call } = known!;
    this.#expect('(');
    const first = this.#sum();
    if (arity === 1) {
      this.#expect(')');
      return (x) => call(first(x));
    }
    this.#expect(',');
    const second = this.#sum();
    this.#expect(')');
    return (x) => call(first(x), second(x));
  }
}

/**
 * A condition over signals, as manifests and configurations write it: comparisons of a VSS path with a constant, joined
 * by `&&` or `||` and grouped by brackets, for example `Vehicle.IsMoving == false && Vehicle.Speed < 5`.
 * A comparison with a signal that has no value, or a stale one, does not hold, whichever way round it is written: a
 * condition guards what must not happen by mistake.
 */
import { ErrorCode, KerbError } from '../base/errors.ts';
import { parseExact } from '../base/exact.ts';
import type { SignalDatum } from './signal.ts';

/** @param freshOf the fresh value of a leaf; undefined when it has none or it is stale */
type Test = (freshOf: (path: string) => SignalDatum | undefined) => boolean;

/** In JSON it is its text. */
export class Condition {
  readonly text: string;
  /** Leaves that it asks for, sorted, each once. */
  readonly paths: readonly string[];
  readonly #test: Test;

  constructor(text: string, paths: readonly string[], test: Test) {
    this.text = text;
    this.paths = paths;
    this.#test = test;
  }

  /** @param freshOf the fresh value of a leaf; undefined when it has none or it is stale */
  holds(freshOf: (path: string) => SignalDatum | undefined): boolean {
    return this.#test(freshOf);
  }

  toJSON(): string {
    return this.text;
  }
}

const compare: Readonly<Record<string, (a: SignalDatum, b: SignalDatum) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
};

const tokenPattern =
  /\s*(?:(&&|\|\||[()]|==|!=|<=|>=|<|>)|("(?:[^"\\]|\\.)*"|'[^']*')|([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])|([A-Za-z]\w*(?:\.\w+)*))/y;
const MAX_LENGTH = 1000;
const MAX_DEPTH = 20;

type Token =
  | { readonly kind: 'sign'; readonly text: string }
  | { readonly kind: 'constant'; readonly text: string; readonly value: SignalDatum }
  | { readonly kind: 'path'; readonly text: string };

/** @throws KerbError BadCondition that says what was expected where */
export function parseCondition(text: string): Condition {
  if (text.length > MAX_LENGTH) throw bad(`condition of ${text.length} characters: ${MAX_LENGTH} are the limit`);
  const tokens = tokensOf(text);
  const paths = new Set<string>();
  let next = 0;

  const either = (depth: number): Test => joined('||', depth, (d) => joined('&&', d, single));
  const joined = (sign: string, depth: number, part: (depth: number) => Test): Test => {
    const parts = [part(depth)];
    while (tokens[next]?.text === sign && tokens[next]?.kind === 'sign') {
      next++;
      parts.push(part(depth));
    }
    if (parts.length === 1) return parts[0]!;
    return sign === '||'
      ? (freshOf) => parts.some((test) => test(freshOf))
      : (freshOf) => parts.every((test) => test(freshOf));
  };
  const single = (depth: number): Test => {
    if (depth > MAX_DEPTH) throw bad(`condition "${text}": more than ${MAX_DEPTH} brackets in one another`);
    const first = tokens[next++];
    if (first?.kind === 'sign' && first.text === '(') {
      const inner = either(depth + 1);
      if (tokens[next++]?.text !== ')') throw bad(`condition "${text}": a bracket is not closed`);
      return inner;
    }
    if (first?.kind !== 'path') throw expected('a VSS path such as Vehicle.Speed', first);
    const sign = tokens[next++];
    const test = sign?.kind === 'sign' && Object.hasOwn(compare, sign.text) ? compare[sign.text] : undefined;
    if (test === undefined) throw expected(`==, !=, <, <=, > or >= after ${first.text}`, sign);
    const constant = tokens[next++];
    if (constant?.kind !== 'constant') throw expected('a number, true, false or a text in quotes', constant);
    if (kindOf(constant.value) !== 'number' && sign!.text !== '==' && sign!.text !== '!=') {
      throw bad(`condition "${text}": ${sign!.text} compares numbers only`);
    }
    paths.add(first.text);
    const { value } = constant;
    return (freshOf) => {
      const now = freshOf(first.text);
      return now !== undefined && kindOf(now) === kindOf(value) && test(now, value);
    };
  };
  const expected = (what: string, found: Token | undefined) =>
    bad(`condition "${text}": expected ${what}, and ${found === undefined ? 'it ends' : `found ${found.text}`} there`);

  const test = either(0);
  if (next < tokens.length) throw expected('&&, || or the end', tokens[next]);
  return new Condition(text, [...paths].sort(), test);
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  const end = text.trimEnd().length;
  tokenPattern.lastIndex = 0;
  while (tokenPattern.lastIndex < end) {
    const from = tokenPattern.lastIndex;
    const match = tokenPattern.exec(text);
    if (match === null) throw bad(`condition "${text}": cannot read "${text.slice(from, end).trim()}"`);
    const [, sign, quoted, number, word] = match;
    if (sign !== undefined) tokens.push({ kind: 'sign', text: sign });
    else if (quoted !== undefined) {
      const value = quoted.slice(1, -1).replace(quoted[0] === '"' ? /\\(.)/g : /(?!)/g, '$1');
      tokens.push({ kind: 'constant', text: quoted, value });
    } else if (number !== undefined) tokens.push({ kind: 'constant', text: number, value: parseExact(number) });
    else if (word === 'true' || word === 'false') {
      tokens.push({ kind: 'constant', text: word, value: word === 'true' });
    } else tokens.push({ kind: 'path', text: word! });
  }
  return tokens;
}

/** Integers of any size are one kind: they are in their one form (exact.ts), so that comparing them is right. */
function kindOf(value: SignalDatum): string {
  return typeof value === 'bigint' ? 'number' : typeof value;
}

function bad(message: string): KerbError {
  return new KerbError(ErrorCode.BadCondition, message);
}

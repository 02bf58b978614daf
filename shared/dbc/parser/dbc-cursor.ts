import type { KerbError } from '../../base/errors.ts';
import { type Exact, parseExact } from '../../base/exact.ts';
import { type DbcToken, dbcError } from './dbc-lexer.ts';

/** Walks along the tokens of a DBC file and says what it expected where it finds something else. */
export class DbcCursor {
  /** The last one is of kind `end`. */
  readonly #tokens: readonly DbcToken[];
  readonly #file: string;
  #at = 0;

  constructor(tokens: readonly DbcToken[], file: string) {
    this.#tokens = tokens;
    this.#file = file;
  }

  peek(): DbcToken {
    return this.#tokens[this.#at]!;
  }

  peekNext(): DbcToken {
    return this.#tokens[this.#at + 1] ?? this.peek();
  }

  take(): DbcToken {
    const token = this.peek();
    if (token.kind !== 'end') this.#at++;
    return token;
  }

  /** Whether this mark is next. */
  isMark(text: string): boolean {
    return this.peek().kind === 'mark' && this.peek().text === text;
  }

  word(what: string): string {
    return this.#expect('word', what).text;
  }

  text(what: string): string {
    return this.#expect('text', what).text;
  }

  number(what: string): number {
    return Number(this.#expect('number', what).text);
  }

  /** With all digits of an integer. */
  exact(what: string): Exact {
    return parseExact(this.#expect('number', what).text);
  }

  integer(what: string): number {
    const token = this.#expect('number', what);
    const value = Number(token.text);
    if (!Number.isSafeInteger(value)) throw this.fail(token, `${what} must be a whole number, not ${token.text}`);
    return value;
  }

  mark(text: string): void {
    const token = this.peek();
    if (!this.isMark(text)) throw this.fail(token, `"${text}" is expected, not ${describe(token)}`);
    this.take();
  }

  fail(token: DbcToken, what: string): KerbError {
    return dbcError(this.#file, token.line, token.kind === 'bad' ? token.text : what);
  }

  /** What is not expected stays where it is: it may begin the next statement. */
  #expect(kind: DbcToken['kind'], what: string): DbcToken {
    const token = this.peek();
    if (token.kind !== kind) throw this.fail(token, `${what} is expected, not ${describe(token)}`);
    return this.take();
  }
}

/** A token for a message. */
export function describe(token: DbcToken): string {
  if (token.kind === 'end') return 'the end of the file';
  const shown = token.text.length > 40 ? `${token.text.slice(0, 40)}…` : token.text;
  return `"${shown}"`;
}

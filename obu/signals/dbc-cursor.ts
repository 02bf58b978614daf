import type { KerbError } from '../../shared/errors.ts';
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

  word(what: string): string {
    return this.#expect('word', what).text;
  }

  text(what: string): string {
    return this.#expect('text', what).text;
  }

  number(what: string): number {
    return Number(this.#expect('number', what).text);
  }

  integer(what: string): number {
    const token = this.#expect('number', what);
    const value = Number(token.text);
    if (!Number.isSafeInteger(value)) throw this.fail(token, `${what} is ${token.text}, which is no whole number`);
    return value;
  }

  mark(text: string): void {
    const token = this.peek();
    if (token.kind !== 'mark' || token.text !== text) {
      throw this.fail(token, `"${text}" is expected, not ${describe(token)}`);
    }
    this.take();
  }

  fail(token: DbcToken, what: string): KerbError {
    return dbcError(this.#file, token.line, what);
  }

  #expect(kind: DbcToken['kind'], what: string): DbcToken {
    const token = this.take();
    if (token.kind !== kind) throw this.fail(token, `${what} is expected, not ${describe(token)}`);
    return token;
  }
}

/** A token for a message. */
export function describe(token: DbcToken): string {
  if (token.kind === 'end') return 'the end of the file';
  const shown = token.text.length > 40 ? `${token.text.slice(0, 40)}…` : token.text;
  return `"${shown}"`;
}

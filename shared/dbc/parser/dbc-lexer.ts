import { ErrorCode, KerbError } from '../../base/errors.ts';

export interface DbcToken {
  /** `bad` is something that no DBC file has; the statement around it is lost. */
  readonly kind: 'word' | 'number' | 'text' | 'mark' | 'bad' | 'end';
  /** The text itself; for `text` without its quotes; for `bad` what is wrong. */
  readonly text: string;
  readonly line: number;
  /** First of its line. */
  readonly isFirst: boolean;
}

export function dbcError(file: string, line: number, what: string, cause?: unknown): KerbError {
  return new KerbError(ErrorCode.BadDbc, `${file}:${line}: ${what}`, { file, line }, { cause });
}

// Sticky, so that they match at one position. A number may have a sign, a fraction and an exponent; a name may begin
// with a digit, as some tools write it.
const blank = /(?:[ \t\n\f\v\u{feff}]|\/\/[^\n]*|\/\*[\s\S]*?\*\/)+/uy;
const word = /[A-Za-z_][A-Za-z0-9_]*|[0-9]+[A-Za-z_][A-Za-z0-9_]*/y;
const number = /[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![A-Za-z0-9_.])/y;
const marks = ':;|@+-()[],';

/** A line that begins like a statement: inside of a string that does not end well, the string has lost its quote. */
const statementLine = /\n[ \t]*(?:BO_|SG_|CM_|BA_|BA_DEF_|BA_DEF_DEF_|VAL_|VAL_TABLE_|SIG_VALTYPE_|SG_MUL_VAL_) /;

/**
 * Cuts the text of a DBC file into tokens, the last one of kind `end`. Strings may span lines; comments of C (`//` to
 * the end of the line) are blank. Lines end as on any system.
 */
export function lexDbc(source: string): DbcToken[] {
  return new Lexer(source.replace(/\r\n?/g, '\n')).readAll();
}

class Lexer {
  readonly #source: string;
  readonly #tokens: DbcToken[] = [];
  #at = 0;
  #line = 1;
  #lastLine = 0;

  constructor(source: string) {
    this.#source = source;
  }

  readAll(): DbcToken[] {
    while (this.#at < this.#source.length) {
      const space = this.#match(blank);
      if (space !== undefined) this.#skip(space);
      else if (this.#source[this.#at] === '"') this.#string();
      else this.#plain();
    }
    this.#push('end', '');
    return this.#tokens;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#source)?.[0];
  }

  #push(kind: DbcToken['kind'], text: string): void {
    this.#tokens.push({ kind, text, line: this.#line, isFirst: this.#line !== this.#lastLine });
    this.#lastLine = this.#line;
  }

  #skip(text: string): void {
    for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) this.#line++;
    this.#at += text.length;
  }

  #plain(): void {
    // A number that a letter follows is a name, unless that is its exponent.
    const digits = this.#match(number);
    const found = digits ?? this.#match(word);
    if (found !== undefined) {
      this.#push(digits !== undefined ? 'number' : 'word', found);
      this.#at += found.length;
      return;
    }
    // By code point, so that no half of a character is shown.
    const character = String.fromCodePoint(this.#source.codePointAt(this.#at)!);
    if (marks.includes(character)) this.#push('mark', character);
    else this.#push('bad', `unexpected character ${JSON.stringify(character)}`);
    this.#at += character.length;
  }

  #string(): void {
    const end = endOfString(this.#source, this.#at);
    const raw = this.#source.slice(this.#at + 1, end < 0 ? undefined : end);
    if (end < 0 || this.#hasLostItsQuote(raw, end)) {
      const lineEnd = this.#source.indexOf('\n', this.#at);
      this.#push('bad', 'a string begins here and never ends');
      this.#at = lineEnd < 0 ? this.#source.length : lineEnd;
      return;
    }
    this.#push('text', raw.replace(/\\(["\\])/g, '$1'));
    this.#skip(`"${raw}"`);
    // What follows a string in its last line is not the first of it.
    this.#lastLine = this.#line;
  }

  /** A comment may well quote a statement, but then it ends as a comment does. */
  #hasLostItsQuote(raw: string, end: number): boolean {
    return statementLine.test(raw) && !/^"\s*;/.test(this.#source.slice(end, end + 100));
  }
}

/** Where the string that begins at `start` has its closing quote, or -1. A backslash keeps the next character in it. */
function endOfString(source: string, start: number): number {
  for (let at = start + 1; at < source.length; at++) {
    if (source[at] === '\\') at++;
    else if (source[at] === '"') return at;
  }
  return -1;
}

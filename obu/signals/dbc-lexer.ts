import { ErrorCode, KerbError } from '../../shared/errors.ts';

export interface DbcToken {
  readonly kind: 'word' | 'number' | 'text' | 'mark' | 'end';
  /** The text itself; for `text` without its quotes. */
  readonly text: string;
  readonly line: number;
}

export function dbcError(file: string, line: number, what: string, cause?: unknown): KerbError {
  return new KerbError(ErrorCode.BadDbc, `${file}:${line}: ${what}`, { file, line }, { cause });
}

// Sticky, so that they match at one position. A number may have a sign, a fraction and an exponent.
const blank = /[ \t\r\n\u{feff}]+/uy;
const word = /[A-Za-z_][A-Za-z0-9_]*/y;
const number = /[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/y;
const marks = ':;|@+-()[],';

/**
 * Cuts the text of a DBC file into tokens, the last one of kind `end`. Strings may span lines.
 * @throws KerbError BadDbc with file and line
 */
export function lexDbc(source: string, file: string): DbcToken[] {
  const tokens: DbcToken[] = [];
  let at = 0;
  let line = 1;
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    return pattern.exec(source);
  };
  const countLines = (skipped: string) => {
    for (let i = skipped.indexOf('\n'); i >= 0; i = skipped.indexOf('\n', i + 1)) line++;
  };
  while (at < source.length) {
    const space = match(blank);
    if (space !== null) {
      countLines(space[0]);
      at += space[0].length;
      continue;
    }
    if (source[at] === '"') {
      const end = endOfString(source, at);
      if (end < 0) throw dbcError(file, line, 'a string begins here and never ends');
      const raw = source.slice(at + 1, end);
      tokens.push({ kind: 'text', text: raw.replace(/\\(["\\])/g, '$1'), line });
      countLines(raw);
      at = end + 1;
      continue;
    }
    const named = match(word);
    const found = named ?? match(number);
    if (found !== null) {
      tokens.push({ kind: named !== null ? 'word' : 'number', text: found[0], line });
      at += found[0].length;
    } else if (marks.includes(source[at]!)) {
      tokens.push({ kind: 'mark', text: source[at]!, line });
      at++;
    } else {
      throw dbcError(file, line, `unexpected character "${source[at]}"`);
    }
  }
  tokens.push({ kind: 'end', text: '', line });
  return tokens;
}

/** Where the string that begins at `start` has its closing quote, or -1. A backslash keeps the next character in it. */
function endOfString(source: string, start: number): number {
  for (let at = start + 1; at < source.length; at++) {
    if (source[at] === '\\') at++;
    else if (source[at] === '"') return at;
  }
  return -1;
}

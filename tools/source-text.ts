/** The three kinds of text in a source file. */
export interface SourceText {
  /** Literals without their quotes; a template is one, its holes kept as `{}`. */
  readonly strings: readonly TextPart[];
  readonly comments: readonly TextPart[];
  /**
   * The file, as long as it is, with literals and comments blanked out: where identifiers are. What stands in the holes
   * of templates is kept.
   */
  readonly code: string;
}

export interface TextPart {
  /** Where it begins in the file, with its quote or slash, and where what follows it begins. */
  readonly at: number;
  readonly end: number;
  readonly text: string;
}

/** What may stand before a regular expression; after anything else a slash divides. */
const BEFORE_REGEX = /(?:^|[(,=:[!&|?{};+\-*%~^<>]|\b(?:return|typeof|case|of|in))\s*$/;
const DOUBLE_QUOTED = /"(?:\\[\s\S]|[^"\\\n])*"?/y;
const SINGLE_QUOTED = /'(?:\\[\s\S]|[^'\\\n])*'?/y;
const REGEX = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/[a-z]*/y;
const HOLE = /\$\{/y;

/** Splits a file in TypeScript or C, knowing just as much of their grammar as that takes. */
export function splitSource(source: string): SourceText {
  return new Splitter(source).split();
}

class Splitter {
  readonly #source: string;
  readonly #strings: TextPart[] = [];
  readonly #comments: TextPart[] = [];
  #code = '';
  #at = 0;

  constructor(source: string) {
    this.#source = source;
  }

  split(): SourceText {
    this.#scan();
    return { strings: this.#strings, comments: this.#comments, code: this.#code };
  }

  /** Until the brace that closes the hole of a template, or the end of the file. */
  #scan(): void {
    for (let depth = 0; this.#at < this.#source.length; ) {
      const next = this.#source[this.#at];
      if (next === '}' && depth-- === 0) return;
      if (next === '{') depth++;
      if (!this.#literalOrComment(next)) this.#code += this.#source[this.#at++];
    }
  }

  #literalOrComment(next: string | undefined): boolean {
    const at = this.#at;
    if (this.#source.startsWith('//', at)) this.#comment(/[^\n]*/y);
    else if (this.#source.startsWith('/*', at)) this.#comment(/\/\*[\s\S]*?\*\//y);
    else if (next === '`') this.#template();
    else if (next === '"') this.#quoted(DOUBLE_QUOTED);
    else if (next === "'") this.#quoted(SINGLE_QUOTED);
    else if (next === '/' && BEFORE_REGEX.test(this.#code.slice(-40))) this.#blank(REGEX);
    else return false;
    return true;
  }

  #comment(pattern: RegExp): void {
    const at = this.#at;
    const text = this.#blank(pattern);
    this.#comments.push({ at, end: this.#at, text });
  }

  #quoted(pattern: RegExp): void {
    const at = this.#at;
    const text = this.#blank(pattern).slice(1, -1);
    this.#strings.push({ at, end: this.#at, text });
  }

  #template(): void {
    const at = this.#at;
    let text = '';
    this.#blank(/`/y);
    while (this.#at < this.#source.length && this.#source[this.#at] !== '`') {
      if (this.#source[this.#at] !== '$' || this.#source[this.#at + 1] !== '{') {
        text += this.#blank(/\\[\s\S]|[^\\`$]+|\$/y);
        continue;
      }
      text += '{}';
      this.#blank(HOLE);
      this.#scan();
      this.#blank(/\}/y);
    }
    this.#blank(/`/y);
    this.#strings.push({ at, end: this.#at, text });
  }

  /** Takes what the pattern matches here, at least one character. */
  #blank(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source)?.[0] || (this.#source[this.#at] ?? '');
    this.#at += found.length;
    this.#code += found.replace(/[^\n]/g, ' ');
    return found;
  }
}

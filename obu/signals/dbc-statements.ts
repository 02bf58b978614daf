/**
 * Reads the statements of a DBC file into plain records, each with its line. What they mean together is worked out in
 * dbc-parser.ts. Statements that say nothing about frames (environment variables, signal groups, types of other tools)
 * are read over; words that the format does not know are errors.
 */
import { type DbcToken, dbcError, lexDbc } from './dbc-lexer.ts';

export interface SignalStatement {
  readonly line: number;
  readonly name: string;
  /** `M`, `m3`, `m3M`, or empty. */
  readonly mux: string;
  readonly startBit: number;
  readonly length: number;
  readonly bigEndian: boolean;
  readonly signed: boolean;
  readonly factor: number;
  readonly offset: number;
  readonly min: number;
  readonly max: number;
  readonly unit: string;
  readonly receivers: readonly string[];
}

export interface MessageStatement {
  readonly line: number;
  /** With the DBC's extended flag in bit 31. */
  readonly rawId: number;
  readonly name: string;
  readonly length: number;
  readonly sender: string;
  readonly signals: SignalStatement[];
}

/** What a comment, an attribute or a value table is about. */
export type Target =
  | { readonly kind: 'network' }
  | { readonly kind: 'message'; readonly rawId: number }
  | { readonly kind: 'signal'; readonly rawId: number; readonly signal: string }
  | { readonly kind: 'other' };

export interface AttributeDefinition {
  readonly kind: 'network' | 'message' | 'signal' | 'other';
  /** Labels when it is an ENUM. */
  readonly labels: readonly string[] | undefined;
}

export interface DbcStatements {
  version: string;
  nodes: string[];
  readonly messages: MessageStatement[];
  readonly valueTables: Map<string, ReadonlyMap<number, string>>;
  readonly labels: { line: number; rawId: number; signal: string; labels: ReadonlyMap<number, string> }[];
  readonly comments: { line: number; target: Target; text: string }[];
  readonly definitions: Map<string, AttributeDefinition>;
  readonly defaults: Map<string, number | string>;
  readonly attributes: { line: number; name: string; target: Target; value: number | string }[];
  readonly floats: { line: number; rawId: number; signal: string; type: number }[];
  readonly muxRanges: { line: number; rawId: number; signal: string; by: string; ranges: [number, number][] }[];
}

/** Statements that end in ";" and say nothing that is needed here. */
const skipped = new Set([
  'NS_DESC_',
  'CAT_DEF_',
  'CAT_',
  'FILTER',
  'EV_',
  'EV_DATA_',
  'ENVVAR_DATA_',
  'SGTYPE_',
  'SGTYPE_VAL_',
  'BA_DEF_SGTYPE_',
  'BA_SGTYPE_',
  'SIG_TYPE_REF_',
  'SIG_GROUP_',
  'SIGTYPE_VALTYPE_',
  'BO_TX_BU_',
  'BA_DEF_REL_',
  'BA_REL_',
  'BA_DEF_DEF_REL_',
  'BU_SG_REL_',
  'BU_EV_REL_',
  'BU_BO_REL_',
]);

const targets: Readonly<Record<string, 'message' | 'signal' | 'other'>> = {
  BO_: 'message',
  SG_: 'signal',
  BU_: 'other',
  EV_: 'other',
};

class Reader {
  readonly #tokens: readonly DbcToken[];
  readonly #file: string;
  #at = 0;
  readonly out: DbcStatements = {
    version: '',
    nodes: [],
    messages: [],
    valueTables: new Map(),
    labels: [],
    comments: [],
    definitions: new Map(),
    defaults: new Map(),
    attributes: [],
    floats: [],
    muxRanges: [],
  };

  constructor(tokens: readonly DbcToken[], file: string) {
    this.#tokens = tokens;
    this.#file = file;
  }

  readAll(): DbcStatements {
    while (this.#peek().kind !== 'end') this.#statement(this.#take());
    return this.out;
  }

  #statement(keyword: DbcToken): void {
    if (keyword.kind !== 'word') throw this.#fail(keyword, `a statement cannot begin with ${describe(keyword)}`);
    const { out } = this;
    switch (keyword.text) {
      case 'VERSION':
        out.version = this.#text('the version');
        return;
      case 'NS_':
        this.#newSymbols();
        return;
      case 'BS_':
        this.#restOfLine(keyword);
        return;
      case 'BU_':
        this.#mark(':');
        while (this.#peek().kind === 'word' && this.#peek().line === keyword.line) out.nodes.push(this.#take().text);
        // A long list goes on in indented lines: names that are followed by nothing that makes them a statement.
        while (this.#peek().kind === 'word' && !isKeyword(this.#peek().text)) out.nodes.push(this.#take().text);
        return;
      case 'BO_':
        this.#message(keyword.line);
        return;
      case 'SG_':
        this.#signal(keyword);
        return;
      case 'VAL_TABLE_':
        out.valueTables.set(this.#word('the name of the value table'), this.#labels());
        return;
      case 'VAL_':
        this.#valueLabels(keyword.line);
        return;
      case 'CM_':
        out.comments.push({ line: keyword.line, target: this.#target(), text: this.#text('the comment') });
        this.#mark(';');
        return;
      case 'BA_DEF_':
        this.#attributeDefinition();
        return;
      case 'BA_DEF_DEF_':
        out.defaults.set(this.#text('the name of the attribute'), this.#value());
        this.#mark(';');
        return;
      case 'BA_':
        out.attributes.push({
          line: keyword.line,
          name: this.#text('the name of the attribute'),
          target: this.#target(),
          value: this.#value(),
        });
        this.#mark(';');
        return;
      case 'SIG_VALTYPE_': {
        const rawId = this.#integer('the id of a message');
        const signal = this.#word('the name of a signal');
        if (this.#peek().text === ':') this.#take();
        out.floats.push({ line: keyword.line, rawId, signal, type: this.#integer('the value type') });
        this.#mark(';');
        return;
      }
      case 'SG_MUL_VAL_':
        this.#muxRanges(keyword.line);
        return;
      default:
        if (!skipped.has(keyword.text)) throw this.#fail(keyword, `"${keyword.text}" is no statement of a DBC file`);
        while (this.#peek().text !== ';' || this.#peek().kind !== 'mark') {
          if (this.#peek().kind === 'end') throw this.#fail(keyword, `${keyword.text} has no ";" at its end`);
          this.#take();
        }
        this.#take();
    }
  }

  /** The list of words that the file may use: each alone on its line, although some are statements elsewhere. */
  #newSymbols(): void {
    this.#mark(':');
    while (this.#peek().kind === 'word') {
      const next = this.#tokens[this.#at + 1];
      if (next !== undefined && next.kind !== 'end' && next.line === this.#peek().line) return;
      this.#take();
    }
  }

  #restOfLine(keyword: DbcToken): void {
    this.#mark(':');
    while (this.#peek().kind !== 'end' && this.#peek().line === keyword.line) this.#take();
  }

  #message(line: number): void {
    const rawId = this.#integer('the id of the message');
    const name = this.#word('the name of the message');
    this.#mark(':');
    const length = this.#integer('the length of the message');
    const sender = this.#word('the sender of the message');
    this.out.messages.push({ line, rawId, name, length, sender, signals: [] });
  }

  #signal(keyword: DbcToken): void {
    const message = this.out.messages.at(-1);
    if (message === undefined) throw this.#fail(keyword, 'a signal stands before the first message');
    const name = this.#word('the name of the signal');
    let mux = '';
    if (this.#peek().kind === 'word') {
      const token = this.#take();
      if (!/^(M|m\d+M?)$/.test(token.text)) {
        throw this.#fail(token, `signal ${name}: "${token.text}" is no multiplexer mark (M, m0, m0M)`);
      }
      mux = token.text;
    }
    this.#mark(':');
    const startBit = this.#integer('the start bit');
    this.#mark('|');
    const length = this.#integer('the length in bits');
    this.#mark('@');
    const order = this.#take();
    // "1+" comes as one or two tokens: a number never swallows a sign that follows it.
    if (order.text !== '0' && order.text !== '1') {
      throw this.#fail(order, `signal ${name}: the byte order is 0 (big-endian) or 1 (little-endian)`);
    }
    const sign = this.#take();
    if (sign.text !== '+' && sign.text !== '-') {
      throw this.#fail(sign, `signal ${name}: after the byte order comes + (unsigned) or - (signed)`);
    }
    this.#mark('(');
    const factor = this.#number('the factor');
    this.#mark(',');
    const offset = this.#number('the offset');
    this.#mark(')');
    this.#mark('[');
    const min = this.#number('the minimum');
    this.#mark('|');
    const max = this.#number('the maximum');
    this.#mark(']');
    const unitToken = this.#peek();
    const unit = this.#text('the unit');
    const receivers: string[] = [];
    while (this.#peek().line === unitToken.line && (this.#peek().kind === 'word' || this.#peek().text === ',')) {
      const token = this.#take();
      if (token.kind === 'word') receivers.push(token.text);
    }
    message.signals.push({
      line: keyword.line,
      name,
      mux,
      startBit,
      length,
      bigEndian: order.text === '0',
      signed: sign.text === '-',
      factor,
      offset,
      min,
      max,
      unit,
      receivers,
    });
  }

  #valueLabels(line: number): void {
    if (this.#peek().kind === 'word') {
      // About an environment variable.
      this.#take();
      this.#labels();
      return;
    }
    const rawId = this.#integer('the id of a message');
    const signal = this.#word('the name of a signal');
    const next = this.#peek();
    if (next.kind === 'word') {
      // Some tools name a value table instead of repeating it.
      const table = this.out.valueTables.get(next.text);
      if (table === undefined) throw this.#fail(next, `there is no value table "${next.text}"`);
      this.#take();
      this.#mark(';');
      this.out.labels.push({ line, rawId, signal, labels: table });
      return;
    }
    this.out.labels.push({ line, rawId, signal, labels: this.#labels() });
  }

  #labels(): Map<number, string> {
    const labels = new Map<number, string>();
    while (this.#peek().kind === 'number') {
      const value = this.#number('a value');
      labels.set(value, this.#text('the name of the value'));
    }
    this.#mark(';');
    return labels;
  }

  #attributeDefinition(): void {
    const object = this.#peek().kind === 'word' ? this.#take() : undefined;
    const kind = object === undefined ? 'network' : targets[object.text];
    if (kind === undefined) throw this.#fail(object!, `attributes of "${object!.text}" do not exist`);
    const name = this.#text('the name of the attribute');
    const type = this.#take();
    let labels: string[] | undefined;
    if (type.text === 'ENUM') {
      labels = [];
      while (this.#peek().kind === 'text' || this.#peek().text === ',') {
        const token = this.#take();
        if (token.kind === 'text') labels.push(token.text);
      }
    } else if (['INT', 'HEX', 'FLOAT'].includes(type.text)) {
      while (this.#peek().kind === 'number') this.#take();
    } else if (type.text !== 'STRING') {
      throw this.#fail(type, `attribute ${name}: ${describe(type)} is no type of an attribute`);
    }
    this.#mark(';');
    this.out.definitions.set(name, { kind, labels });
  }

  #target(): Target {
    if (this.#peek().kind !== 'word') return { kind: 'network' };
    const token = this.#take();
    switch (token.text) {
      case 'BO_':
        return { kind: 'message', rawId: this.#integer('the id of a message') };
      case 'SG_':
        return {
          kind: 'signal',
          rawId: this.#integer('the id of a message'),
          signal: this.#word('the name of a signal'),
        };
      case 'BU_':
      case 'EV_':
        this.#word('a name');
        return { kind: 'other' };
      default:
        throw this.#fail(token, `"${token.text}" is nothing that this statement can be about (BO_, SG_, BU_, EV_)`);
    }
  }

  #muxRanges(line: number): void {
    const rawId = this.#integer('the id of a message');
    const signal = this.#word('the name of a signal');
    const by = this.#word('the name of the multiplexer');
    const ranges: [number, number][] = [];
    for (;;) {
      const low = this.#integer('the first value');
      // "3-5": the lexer takes the dash for the sign of the second number.
      if (this.#peek().text === '-') this.#take();
      const high = Math.abs(this.#integer('the last value'));
      ranges.push([low, high]);
      if (this.#peek().text !== ',') break;
      this.#take();
    }
    this.#mark(';');
    this.out.muxRanges.push({ line, rawId, signal, by, ranges });
  }

  #value(): number | string {
    const token = this.#take();
    if (token.kind === 'text') return token.text;
    if (token.kind === 'number') return Number(token.text);
    throw this.#fail(token, `a value is expected, not ${describe(token)}`);
  }

  #peek(): DbcToken {
    return this.#tokens[this.#at]!;
  }

  #take(): DbcToken {
    const token = this.#tokens[this.#at]!;
    if (token.kind !== 'end') this.#at++;
    return token;
  }

  #word(what: string): string {
    return this.#expect('word', what).text;
  }

  #text(what: string): string {
    return this.#expect('text', what).text;
  }

  #number(what: string): number {
    return Number(this.#expect('number', what).text);
  }

  #integer(what: string): number {
    const token = this.#expect('number', what);
    const value = Number(token.text);
    if (!Number.isSafeInteger(value)) throw this.#fail(token, `${what} is ${token.text}, which is no whole number`);
    return value;
  }

  #mark(text: string): void {
    const token = this.#peek();
    if (token.kind !== 'mark' || token.text !== text) {
      throw this.#fail(token, `"${text}" is expected, not ${describe(token)}`);
    }
    this.#take();
  }

  #expect(kind: DbcToken['kind'], what: string): DbcToken {
    const token = this.#take();
    if (token.kind !== kind) throw this.#fail(token, `${what} is expected, not ${describe(token)}`);
    return token;
  }

  #fail(token: DbcToken, what: string) {
    return dbcError(this.#file, token.line, what);
  }
}

function isKeyword(text: string): boolean {
  return (
    skipped.has(text) ||
    /^(VERSION|NS_|BS_|BU_|BO_|SG_|CM_|BA_|BA_DEF_|BA_DEF_DEF_|VAL_|VAL_TABLE_)$/.test(text) ||
    text === 'SIG_VALTYPE_' ||
    text === 'SG_MUL_VAL_'
  );
}

function describe(token: DbcToken): string {
  if (token.kind === 'end') return 'the end of the file';
  const shown = token.text.length > 40 ? `${token.text.slice(0, 40)}…` : token.text;
  return `"${shown}"`;
}

/** @throws KerbError BadDbc with file and line */
export function readDbcStatements(source: string, file: string): DbcStatements {
  return new Reader(lexDbc(source, file), file).readAll();
}

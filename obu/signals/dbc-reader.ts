/**
 * Reads the statements of a DBC file into plain records, each with its line. What they mean together is worked out in
 * dbc-parser.ts. Statements that say nothing about frames (environment variables, signal groups, types of other tools)
 * are read over; words that the format does not know are errors.
 */
import { DbcCursor, describe } from './dbc-cursor.ts';
import { type DbcToken, lexDbc } from './dbc-lexer.ts';
import type { DbcStatements, Target } from './dbc-statement.ts';

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
  readonly #in: DbcCursor;
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

  constructor(cursor: DbcCursor) {
    this.#in = cursor;
  }

  readAll(): DbcStatements {
    while (this.#in.peek().kind !== 'end') this.#statement(this.#in.take());
    return this.out;
  }

  #statement(keyword: DbcToken): void {
    if (keyword.kind !== 'word') throw this.#in.fail(keyword, `a statement cannot begin with ${describe(keyword)}`);
    const { out } = this;
    switch (keyword.text) {
      case 'VERSION':
        out.version = this.#in.text('the version');
        return;
      case 'NS_':
        this.#newSymbols();
        return;
      case 'BS_':
        this.#restOfLine(keyword);
        return;
      case 'BU_':
        this.#in.mark(':');
        while (this.#in.peek().kind === 'word' && this.#in.peek().line === keyword.line)
          out.nodes.push(this.#in.take().text);
        // A long list goes on in indented lines: names that are followed by nothing that makes them a statement.
        while (this.#in.peek().kind === 'word' && !isKeyword(this.#in.peek().text))
          out.nodes.push(this.#in.take().text);
        return;
      case 'BO_':
        this.#message(keyword.line);
        return;
      case 'SG_':
        this.#signal(keyword);
        return;
      case 'VAL_TABLE_':
        out.valueTables.set(this.#in.word('the name of the value table'), this.#labels());
        return;
      case 'VAL_':
        this.#valueLabels(keyword.line);
        return;
      case 'CM_':
        out.comments.push({ line: keyword.line, target: this.#target(), text: this.#in.text('the comment') });
        this.#in.mark(';');
        return;
      case 'BA_DEF_':
        this.#attributeDefinition();
        return;
      case 'BA_DEF_DEF_':
        out.defaults.set(this.#in.text('the name of the attribute'), this.#value());
        this.#in.mark(';');
        return;
      case 'BA_':
        out.attributes.push({
          line: keyword.line,
          name: this.#in.text('the name of the attribute'),
          target: this.#target(),
          value: this.#value(),
        });
        this.#in.mark(';');
        return;
      case 'SIG_VALTYPE_': {
        const rawId = this.#in.integer('the id of a message');
        const signal = this.#in.word('the name of a signal');
        if (this.#in.peek().text === ':') this.#in.take();
        out.floats.push({ line: keyword.line, rawId, signal, type: this.#in.integer('the value type') });
        this.#in.mark(';');
        return;
      }
      case 'SG_MUL_VAL_':
        this.#muxRanges(keyword.line);
        return;
      default:
        if (!skipped.has(keyword.text)) throw this.#in.fail(keyword, `"${keyword.text}" is no statement of a DBC file`);
        while (this.#in.peek().text !== ';' || this.#in.peek().kind !== 'mark') {
          if (this.#in.peek().kind === 'end') throw this.#in.fail(keyword, `${keyword.text} has no ";" at its end`);
          this.#in.take();
        }
        this.#in.take();
    }
  }

  /** The list of words that the file may use: each alone on its line, although some are statements elsewhere. */
  #newSymbols(): void {
    this.#in.mark(':');
    while (this.#in.peek().kind === 'word') {
      const next = this.#in.peekNext();
      if (next.kind !== 'end' && next.line === this.#in.peek().line) return;
      this.#in.take();
    }
  }

  #restOfLine(keyword: DbcToken): void {
    this.#in.mark(':');
    while (this.#in.peek().kind !== 'end' && this.#in.peek().line === keyword.line) this.#in.take();
  }

  #message(line: number): void {
    const rawId = this.#in.integer('the id of the message');
    const name = this.#in.word('the name of the message');
    this.#in.mark(':');
    const length = this.#in.integer('the length of the message');
    const sender = this.#in.word('the sender of the message');
    this.out.messages.push({ line, rawId, name, length, sender, signals: [] });
  }

  #signal(keyword: DbcToken): void {
    const message = this.out.messages.at(-1);
    if (message === undefined) throw this.#in.fail(keyword, 'a signal stands before the first message');
    const name = this.#in.word('the name of the signal');
    let mux = '';
    if (this.#in.peek().kind === 'word') {
      const token = this.#in.take();
      if (!/^(M|m\d+M?)$/.test(token.text)) {
        throw this.#in.fail(token, `signal ${name}: "${token.text}" is no multiplexer mark (M, m0, m0M)`);
      }
      mux = token.text;
    }
    this.#in.mark(':');
    const startBit = this.#in.integer('the start bit');
    this.#in.mark('|');
    const length = this.#in.integer('the length in bits');
    this.#in.mark('@');
    const order = this.#in.take();
    // "1+" comes as one or two tokens: a number never swallows a sign that follows it.
    if (order.text !== '0' && order.text !== '1') {
      throw this.#in.fail(order, `signal ${name}: the byte order is 0 (big-endian) or 1 (little-endian)`);
    }
    const sign = this.#in.take();
    if (sign.text !== '+' && sign.text !== '-') {
      throw this.#in.fail(sign, `signal ${name}: after the byte order comes + (unsigned) or - (signed)`);
    }
    this.#in.mark('(');
    const factor = this.#in.number('the factor');
    this.#in.mark(',');
    const offset = this.#in.number('the offset');
    this.#in.mark(')');
    this.#in.mark('[');
    const min = this.#in.number('the minimum');
    this.#in.mark('|');
    const max = this.#in.number('the maximum');
    this.#in.mark(']');
    const unitToken = this.#in.peek();
    const unit = this.#in.text('the unit');
    const receivers: string[] = [];
    while (
      this.#in.peek().line === unitToken.line &&
      (this.#in.peek().kind === 'word' || this.#in.peek().text === ',')
    ) {
      const token = this.#in.take();
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
    if (this.#in.peek().kind === 'word') {
      // About an environment variable.
      this.#in.take();
      this.#labels();
      return;
    }
    const rawId = this.#in.integer('the id of a message');
    const signal = this.#in.word('the name of a signal');
    const next = this.#in.peek();
    if (next.kind === 'word') {
      // Some tools name a value table instead of repeating it.
      const table = this.out.valueTables.get(next.text);
      if (table === undefined) throw this.#in.fail(next, `there is no value table "${next.text}"`);
      this.#in.take();
      this.#in.mark(';');
      this.out.labels.push({ line, rawId, signal, labels: table });
      return;
    }
    this.out.labels.push({ line, rawId, signal, labels: this.#labels() });
  }

  #labels(): Map<number, string> {
    const labels = new Map<number, string>();
    while (this.#in.peek().kind === 'number') {
      const value = this.#in.number('a value');
      labels.set(value, this.#in.text('the name of the value'));
    }
    this.#in.mark(';');
    return labels;
  }

  #attributeDefinition(): void {
    const object = this.#in.peek().kind === 'word' ? this.#in.take() : undefined;
    const kind = object === undefined ? 'network' : targets[object.text];
    if (kind === undefined) throw this.#in.fail(object!, `attributes of "${object!.text}" do not exist`);
    const name = this.#in.text('the name of the attribute');
    const type = this.#in.take();
    let labels: string[] | undefined;
    if (type.text === 'ENUM') {
      labels = [];
      while (this.#in.peek().kind === 'text' || this.#in.peek().text === ',') {
        const token = this.#in.take();
        if (token.kind === 'text') labels.push(token.text);
      }
    } else if (['INT', 'HEX', 'FLOAT'].includes(type.text)) {
      while (this.#in.peek().kind === 'number') this.#in.take();
    } else if (type.text !== 'STRING') {
      throw this.#in.fail(type, `attribute ${name}: ${describe(type)} is no type of an attribute`);
    }
    this.#in.mark(';');
    this.out.definitions.set(name, { kind, labels });
  }

  #target(): Target {
    if (this.#in.peek().kind !== 'word') return { kind: 'network' };
    const token = this.#in.take();
    switch (token.text) {
      case 'BO_':
        return { kind: 'message', rawId: this.#in.integer('the id of a message') };
      case 'SG_':
        return {
          kind: 'signal',
          rawId: this.#in.integer('the id of a message'),
          signal: this.#in.word('the name of a signal'),
        };
      case 'BU_':
      case 'EV_':
        this.#in.word('a name');
        return { kind: 'other' };
      default:
        throw this.#in.fail(token, `"${token.text}" is nothing that this statement can be about (BO_, SG_, BU_, EV_)`);
    }
  }

  #muxRanges(line: number): void {
    const rawId = this.#in.integer('the id of a message');
    const signal = this.#in.word('the name of a signal');
    const by = this.#in.word('the name of the multiplexer');
    const ranges: [number, number][] = [];
    for (;;) {
      const low = this.#in.integer('the first value');
      // "3-5": the lexer takes the dash for the sign of the second number.
      if (this.#in.peek().text === '-') this.#in.take();
      const high = Math.abs(this.#in.integer('the last value'));
      ranges.push([low, high]);
      if (this.#in.peek().text !== ',') break;
      this.#in.take();
    }
    this.#in.mark(';');
    this.out.muxRanges.push({ line, rawId, signal, by, ranges });
  }

  #value(): number | string {
    const token = this.#in.take();
    if (token.kind === 'text') return token.text;
    if (token.kind === 'number') return Number(token.text);
    throw this.#in.fail(token, `a value is expected, not ${describe(token)}`);
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

/** @throws KerbError BadDbc with file and line */
export function readDbcStatements(source: string, file: string): DbcStatements {
  return new Reader(new DbcCursor(lexDbc(source, file), file)).readAll();
}

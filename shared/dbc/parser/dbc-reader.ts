/**
 * Reads the statements of a DBC file into plain records, each with its line. What they mean together is worked out in
 * dbc-builder.ts. Statements that say nothing about frames (environment variables, signal groups, types of other tools)
 * are read over. One that is wrong is noted and lost, and reading goes on with the next line that begins a statement.
 */
import { isKerbError } from '../../base/errors.ts';
import { type Exact, parseExact } from '../../base/exact.ts';
import type { AttributeValue } from '../dbc.ts';
import { DbcCursor, describe } from './dbc-cursor.ts';
import { readNewSymbols, readNodes, readRestOfLine } from './dbc-head-reader.ts';
import { keywords, skipped } from './dbc-keywords.ts';
import { type DbcToken, lexDbc } from './dbc-lexer.ts';
import { readSignalStatement } from './dbc-signal-reader.ts';
import type { DbcStatements, MessageStatement, Target } from './dbc-statement.ts';

const targets: Readonly<Record<string, 'message' | 'signal' | 'other'>> = {
  BO_: 'message',
  SG_: 'signal',
  BU_: 'other',
  EV_: 'other',
};

class Reader {
  readonly #in: DbcCursor;
  /** What a signal belongs to; undefined before the first message, and after one that is lost. */
  #message: MessageStatement | undefined;
  /** Signals are lost with their message, and need no word of their own. */
  #messageIsLost = false;
  readonly out: DbcStatements = {
    ...{
      count: 0,
      problems: [],
      lost: new Set(),
      version: '',
      nodes: [],
      messages: [],
      valueTables: new Map(),
      labels: [],
    },
    ...{ comments: [], definitions: new Map(), defaults: new Map(), attributes: [], floats: [], muxRanges: [] },
  };

  constructor(cursor: DbcCursor) {
    this.#in = cursor;
  }

  readAll(): DbcStatements {
    while (this.#in.peek().kind !== 'end') {
      const keyword = this.#in.take();
      const { text: name } = this.#in.peek();
      try {
        this.#statement(keyword);
        this.out.count++;
      } catch (error) {
        if (!isKerbError(error)) throw error;
        if (keyword.text === 'SG_') this.out.lost.add(name);
        const { line } = error.context as { line: number };
        this.#problem(line, error.message.slice(error.message.indexOf(`:${line}: `) + `:${line}: `.length));
        while (!this.#isNextStatement()) this.#in.take();
      }
    }
    return this.out;
  }

  #problem(line: number, what: string): void {
    this.out.problems.push({ line, what });
  }

  #isNextStatement(): boolean {
    const { kind, isFirst, text } = this.#in.peek();
    return kind === 'end' || (kind === 'word' && isFirst && keywords.has(text));
  }

  /** The ";" at the end of a statement. Where it is missing and the next statement begins, nothing else is lost. */
  #end(keyword: DbcToken): void {
    if (this.#in.isMark(';') || !this.#isNextStatement()) this.#in.mark(';');
    else this.#problem(keyword.line, `${keyword.text} has no ";" at its end`);
  }

  #statement(keyword: DbcToken): void {
    if (keyword.kind !== 'word') throw this.#in.fail(keyword, `a statement cannot begin with ${describe(keyword)}`);
    const { out } = this;
    switch (keyword.text) {
      case 'VERSION':
        out.version = this.#in.text('the version');
        return;
      case 'NS_':
        readNewSymbols(this.#in);
        return;
      case 'BS_':
        readRestOfLine(this.#in, keyword);
        return;
      case 'BU_':
        out.nodes.push(...readNodes(this.#in, keyword));
        return;
      case 'BO_':
        this.#readMessage(keyword.line);
        return;
      case 'SG_':
        if (this.#messageIsLost) this.#lostSignal();
        else this.#signal(keyword);
        return;
      case 'VAL_TABLE_':
        out.valueTables.set(this.#in.word('the name of the value table'), this.#labels(keyword));
        return;
      case 'VAL_':
        this.#valueLabels(keyword);
        return;
      case 'CM_':
        out.comments.push({ line: keyword.line, target: this.#target(), text: this.#in.text('the comment') });
        this.#end(keyword);
        return;
      case 'BA_DEF_':
        this.#attributeDefinition(keyword);
        return;
      case 'BA_DEF_DEF_': {
        const name = this.#in.text('the name of the attribute');
        out.defaults.set(name, { line: keyword.line, value: this.#value() });
        this.#end(keyword);
        return;
      }
      case 'BA_': {
        const name = this.#in.text('the name of the attribute');
        out.attributes.push({ line: keyword.line, name, target: this.#target(), value: this.#value() });
        this.#end(keyword);
        return;
      }
      case 'SIG_VALTYPE_': {
        const rawId = this.#in.integer('the id of a message');
        const signal = this.#in.word('the name of a signal');
        if (this.#in.isMark(':')) this.#in.take();
        out.floats.push({ line: keyword.line, rawId, signal, type: this.#in.integer('the value type') });
        this.#end(keyword);
        return;
      }
      case 'SG_MUL_VAL_':
        this.#muxRanges(keyword);
        return;
      default:
        if (!skipped.has(keyword.text))
          throw this.#in.fail(keyword, `"${keyword.text}" is not a statement of a DBC file`);
        while (!this.#in.isMark(';') && !this.#isNextStatement()) this.#in.take();
        this.#end(keyword);
    }
  }

  #lostSignal(): void {
    this.out.lost.add(this.#in.peek().text);
    while (!this.#isNextStatement()) this.#in.take();
  }

  #readMessage(line: number): void {
    this.#message = undefined;
    this.#messageIsLost = true;
    const rawId = this.#in.integer('the id of the message');
    const name = this.#in.word('the name of the message');
    this.#in.mark(':');
    const length = this.#in.integer('the length of the message');
    // Where no sender is named, the next line has its signals.
    const sender = this.#isNextStatement() ? '' : this.#in.word('the sender of the message');
    this.#message = { line, rawId, name, length, sender, signals: [] };
    this.out.messages.push(this.#message);
    this.#messageIsLost = false;
  }

  #signal(keyword: DbcToken): void {
    if (this.#message === undefined) throw this.#in.fail(keyword, 'a signal stands before the first message');
    this.#message.signals.push(readSignalStatement(this.#in, keyword.line));
  }

  #valueLabels(keyword: DbcToken): void {
    const { line } = keyword;
    if (this.#in.peek().kind === 'word') {
      // About an environment variable.
      this.#in.take();
      this.#labels(keyword);
      return;
    }
    const rawId = this.#in.integer('the id of a message');
    const signal = this.#in.word('the name of a signal');
    const next = this.#in.peek();
    if (next.kind === 'word' && !this.#isNextStatement()) {
      // Some tools name a value table instead of repeating it.
      const table = this.out.valueTables.get(next.text);
      if (table === undefined) throw this.#in.fail(next, `there is no value table "${next.text}"`);
      this.#in.take();
      this.#end(keyword);
      this.out.labels.push({ line, rawId, signal, labels: table });
      return;
    }
    this.out.labels.push({ line, rawId, signal, labels: this.#labels(keyword) });
  }

  #labels(keyword: DbcToken): Map<Exact, string> {
    const labels = new Map<Exact, string>();
    while (this.#in.peek().kind === 'number') {
      const value = this.#in.exact('a value');
      labels.set(value, this.#in.text('the name of the value'));
    }
    this.#end(keyword);
    return labels;
  }

  #attributeDefinition(keyword: DbcToken): void {
    const object = this.#in.peek().kind === 'word' ? this.#in.take() : undefined;
    const kind = object === undefined ? 'network' : targets[object.text];
    if (kind === undefined)
      throw this.#in.fail(object!, `"${object!.text}" cannot have attributes (BO_, SG_, BU_, EV_)`);
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
      throw this.#in.fail(type, `attribute ${name}: ${describe(type)} is not a type of an attribute`);
    }
    this.#end(keyword);
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
        throw this.#in.fail(token, `"${token.text}" is not what a statement can be about (BO_, SG_, BU_, EV_)`);
    }
  }

  #muxRanges(keyword: DbcToken): void {
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
    this.#end(keyword);
    this.out.muxRanges.push({ line: keyword.line, rawId, signal, by, ranges });
  }

  #value(): AttributeValue {
    const token = this.#in.peek();
    if (token.kind !== 'text' && token.kind !== 'number') {
      throw this.#in.fail(token, `a value is expected, not ${describe(token)}`);
    }
    this.#in.take();
    return token.kind === 'text' ? token.text : parseExact(token.text);
  }
}

/** Reads what can be read; what cannot is among the problems. */
export function readDbcStatements(source: string, file: string): DbcStatements {
  return new Reader(new DbcCursor(lexDbc(source), file)).readAll();
}

/**
 * Works out what the statements of a DBC file mean together. What is wrong is noted with its line, and costs the message,
 * signal, comment or value that it is about, and nothing else.
 */
import { MAX_EXTENDED_ID, MAX_STANDARD_ID } from '../../can/frame.ts';
import type { AttributeValue, Dbc, DbcMessage } from '../dbc.ts';
import { saysJ1939 } from '../j1939.ts';
import type { Extras, SignalExtras } from './dbc-extras.ts';
import { buildSignals } from './dbc-signals.ts';
import type { DbcStatements, MessageStatement, Target } from './dbc-statement.ts';

const EXTENDED = 0x80000000;
/** Vector tools park signals without a message in one of this name, with an id that no frame can have. */
const ORPHANS = 'VECTOR__INDEPENDENT_SIG_MSG';
/** J1939 messages of several frames can be this long; no single frame is. */
const MAX_MESSAGE_LENGTH = 1785;
/** Problems of one file that are kept. */
const MAX_WARNINGS = 200;

const newExtras = (): Extras => ({ comment: '', attributes: new Map(), attributeLines: new Map() });

export class DbcBuilder {
  readonly #in: DbcStatements;
  readonly #file: string;
  readonly #problems: { readonly line: number; readonly what: string }[];
  readonly #messages = new Map<number, MessageStatement>();
  readonly #messageExtras = new Map<number, Extras>();
  /** By raw id and short name. */
  readonly #signalExtras = new Map<number, Map<string, SignalExtras>>();
  readonly #defaultStarts = { fit: 0, unfit: 0 };
  #comment = '';
  readonly #attributes = new Map<string, AttributeValue>();

  constructor(statements: DbcStatements, file: string) {
    this.#in = statements;
    this.#file = file;
    this.#problems = [...statements.problems];
  }

  build(): Dbc {
    this.#indexMessages();
    this.#applyDefaults();
    this.#applyStatements();
    const found = [...this.#messages.values()].filter(({ name }) => name !== ORPHANS).map((one) => this.#message(one));
    const messages = withLongNames(
      found.filter((message) => message !== undefined),
      this.#warn,
    );
    const start = this.#in.defaults.get('GenSigStartValue');
    if (start !== undefined && this.#defaultStarts.unfit > 0 && this.#defaultStarts.fit === 0) {
      this.#warn(start.line, `no signal can start as ${start.value}, the default of all: they start as 0`);
    }
    if (messages.length === 0) this.#warn(1, 'the file has no message (BO_) that can be used');
    // What is said of a name that several signals have is said of each.
    const known = new Map(this.#problems.map((problem) => [`${problem.line} ${problem.what}`, problem]));
    const problems = [...known.values()].sort((a, b) => a.line - b.line);
    return {
      file: this.#file,
      version: this.#in.version,
      nodes: this.#in.nodes,
      messages,
      valueTables: this.#in.valueTables,
      comment: this.#comment,
      attributes: this.#attributes,
      warnings: problems.slice(0, MAX_WARNINGS).map(({ line, what }) => `${this.#file}:${line}: ${what}`),
      warningCount: problems.length,
      lost: this.#lostIn(messages),
    };
  }

  #lostIn(messages: readonly DbcMessage[]): ReadonlySet<string> {
    const lost = new Set(this.#in.lost);
    const kept = new Set(messages.flatMap(({ signals }) => signals.map(({ shortName }) => shortName)));
    for (const { name } of this.#in.messages.flatMap(({ signals }) => signals)) if (!kept.has(name)) lost.add(name);
    return lost;
  }

  #indexMessages(): void {
    for (const message of this.#in.messages) {
      const { line, name, rawId } = message;
      const before = this.#messages.get(rawId);
      if (before !== undefined) {
        this.#warn(
          line,
          `message ${name} has the id of ${before.name} in line ${before.line} (${rawId}), and is left out`,
        );
        continue;
      }
      this.#messages.set(rawId, message);
      this.#messageExtras.set(rawId, newExtras());
      const signals = new Map<string, SignalExtras>();
      for (const signal of message.signals) {
        signals.set(signal.name, {
          ...newExtras(),
          labels: new Map(),
          isFloat: false,
          floatLine: 0,
          mux: undefined,
        });
      }
      this.#signalExtras.set(rawId, signals);
    }
  }

  /** An attribute that has a default has it everywhere. */
  #applyDefaults(): void {
    for (const [name, { value }] of this.#in.defaults) {
      const kind = this.#in.definitions.get(name)?.kind;
      const named = this.#attributeValue(name, value);
      if (kind === 'network') this.#attributes.set(name, named);
      if (kind === 'message') for (const extras of this.#messageExtras.values()) extras.attributes.set(name, named);
      if (kind !== 'signal') continue;
      for (const signals of this.#signalExtras.values()) {
        for (const extras of signals.values()) extras.attributes.set(name, named);
      }
    }
  }

  #applyStatements(): void {
    for (const { line, target, text } of this.#in.comments) {
      if (target.kind === 'network') this.#comment = text;
      else this.#about(line, target, (extras) => (extras.comment = text));
    }
    for (const { line, name, target, value } of this.#in.attributes) {
      const named = this.#attributeValue(name, value);
      if (target.kind === 'network') this.#attributes.set(name, named);
      else {
        this.#about(line, target, (extras) => {
          extras.attributes.set(name, named);
          extras.attributeLines.set(name, line);
        });
      }
    }
    for (const { line, rawId, signal, labels } of this.#in.labels) {
      const extras = this.#signal(line, rawId, signal);
      if (extras !== undefined) extras.labels = labels;
    }
    for (const { line, rawId, signal, type } of this.#in.floats) {
      const extras = this.#signal(line, rawId, signal);
      if (extras === undefined) continue;
      if (type === 0 || type === 1 || type === 2) Object.assign(extras, { isFloat: type !== 0, floatLine: line });
      else this.#warn(line, `signal ${signal}: ${type} is not a value type (0 integer, 1 float, 2 double)`);
    }
    for (const { line, rawId, signal, by, ranges } of this.#in.muxRanges) {
      const extras = this.#signal(line, rawId, signal);
      if (extras === undefined || this.#signal(line, rawId, by) === undefined) continue;
      // Long lists come in several statements.
      if (extras.mux?.by === by) extras.mux.ranges.push(...ranges);
      else if (extras.mux === undefined) extras.mux = { by, ranges: [...ranges], line };
      else this.#warn(line, `signal ${signal} depends on ${extras.mux.by} already, in line ${extras.mux.line}`);
    }
  }

  /** An ENUM attribute is written as the label or as its number; it is kept as the label. */
  #attributeValue(name: string, value: AttributeValue): AttributeValue {
    const labels = this.#in.definitions.get(name)?.labels;
    return typeof value === 'number' ? (labels?.[value] ?? value) : value;
  }

  #about(line: number, target: Target, change: (extras: Extras) => void): void {
    if (target.kind === 'message') {
      const extras = this.#messageExtras.get(target.rawId);
      if (extras === undefined) this.#warn(line, `there is no message ${target.rawId}`);
      else change(extras);
    } else if (target.kind === 'signal') {
      const extras = this.#signal(line, target.rawId, target.signal);
      if (extras !== undefined) change(extras);
    }
  }

  #signal(line: number, rawId: number, name: string): SignalExtras | undefined {
    const extras = this.#signalExtras.get(rawId)?.get(name);
    if (extras === undefined) this.#warn(line, `message ${rawId} has no signal ${name}`);
    return extras;
  }

  #message(statement: MessageStatement): DbcMessage | undefined {
    const { line, rawId, name, length, sender } = statement;
    const ext = rawId >= EXTENDED;
    const id = ext ? rawId - EXTENDED : rawId;
    if (rawId < 0 || id > (ext ? MAX_EXTENDED_ID : MAX_STANDARD_ID)) {
      const most = `at most ${MAX_STANDARD_ID}, or ${EXTENDED} plus at most ${MAX_EXTENDED_ID}`;
      this.#warn(line, `message ${name} is left out: ${rawId} is not a valid id (${most})`);
      return undefined;
    }
    if (length < 0 || length > MAX_MESSAGE_LENGTH) {
      this.#warn(line, `message ${name} is left out: it cannot have ${length} bytes (0 to ${MAX_MESSAGE_LENGTH})`);
      return undefined;
    }
    const { comment, attributes } = this.#messageExtras.get(rawId)!;
    const cycle = attributes.get('GenMsgCycleTime');
    const format = attributes.get('VFrameFormat');
    const usual = this.#attributeValue('VFrameFormat', this.#in.defaults.get('VFrameFormat')?.value ?? '');
    const j1939 = saysJ1939(ext, attributes, this.#attributes, usual);
    return {
      line,
      id,
      ext,
      name,
      shortName: name,
      length,
      // Some tools write the number without defining the labels: 14 and 15 are the FD formats.
      fd:
        !j1939 &&
        (length > 8 || format === 14 || format === 15 || (typeof format === 'string' && format.endsWith('_FD'))),
      j1939,
      cycleMs: typeof cycle === 'number' && cycle > 0 ? cycle : 0,
      sender,
      signals: buildSignals(statement, {
        extras: this.#signalExtras.get(rawId)!,
        defaultStarts: this.#defaultStarts,
        warn: this.#warn,
      }),
      comment,
      attributes,
    };
  }

  readonly #warn = (line: number, what: string): void => {
    this.#problems.push({ line, what });
  };
}

/** Gives messages their long names, as far as no two have the same. */
function withLongNames(messages: readonly DbcMessage[], warn: (line: number, what: string) => void): DbcMessage[] {
  const taken = new Set(messages.map(({ name }) => name));
  return messages.map((message) => {
    const name = message.attributes.get('SystemMessageLongSymbol');
    if (typeof name !== 'string' || name === '' || name === message.name) return message;
    if (taken.has(name)) {
      warn(message.line, `message ${message.name}: its long name ${name} is the name of another message`);
      return message;
    }
    taken.add(name);
    return { ...message, name };
  });
}

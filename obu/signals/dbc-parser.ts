import { readFile } from 'node:fs/promises';
import { MAX_EXTENDED_ID, MAX_STANDARD_ID } from '../../shared/can/frame.ts';
import { messageOf } from '../../shared/errors.ts';
import type { Dbc, DbcMessage, DbcMux, DbcSignal } from './dbc.ts';
import { dbcError } from './dbc-lexer.ts';
import { readDbcStatements } from './dbc-reader.ts';
import type { DbcStatements, MessageStatement, SignalStatement, Target } from './dbc-statement.ts';
import { saysJ1939 } from './j1939.ts';

const EXTENDED = 0x80000000;
/** Vector tools park signals without a message under this id. */
const ORPHANS = 0xc0000000;
/** J1939 messages of several frames can be this long; no single frame is. */
const MAX_MESSAGE_LENGTH = 1785;

/**
 * Reads a DBC file. Text that is not UTF-8 is taken as Windows-1252, which is what most tools write.
 * @throws KerbError BadDbc with file and line
 */
export async function loadDbc(path: string): Promise<Dbc> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw dbcError(path, 1, `the file cannot be read: ${messageOf(error)}`, error);
  }
  return parseDbc(decodeText(bytes), path);
}

function decodeText(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder('windows-1252').decode(bytes);
  }
}

/**
 * Reads the text of a DBC file.
 * @param file its name, for messages
 * @throws KerbError BadDbc with file and line
 */
export function parseDbc(source: string, file: string): Dbc {
  return new DbcBuilder(readDbcStatements(source, file), file).build();
}

/** What is said about a message or a signal elsewhere in the file. */
interface Extras {
  comment: string;
  readonly attributes: Map<string, number | string>;
}

interface SignalExtras extends Extras {
  labels: ReadonlyMap<number, string>;
  float: DbcSignal['float'];
  mux: DbcMux | undefined;
}

class DbcBuilder {
  readonly #in: DbcStatements;
  readonly #file: string;
  readonly #warnings: string[] = [];
  readonly #messages = new Map<number, MessageStatement>();
  readonly #messageExtras = new Map<number, Extras>();
  readonly #signalExtras = new Map<string, SignalExtras>();
  #comment = '';
  readonly #attributes = new Map<string, number | string>();

  constructor(statements: DbcStatements, file: string) {
    this.#in = statements;
    this.#file = file;
  }

  build(): Dbc {
    this.#indexMessages();
    this.#applyDefaults();
    this.#applyStatements();
    const messages: DbcMessage[] = [];
    for (const message of this.#messages.values()) {
      if (message.rawId !== ORPHANS) messages.push(this.#message(message));
    }
    return {
      file: this.#file,
      version: this.#in.version,
      nodes: this.#in.nodes,
      messages,
      valueTables: this.#in.valueTables,
      comment: this.#comment,
      attributes: this.#attributes,
      warnings: this.#warnings,
    };
  }

  #indexMessages(): void {
    for (const message of this.#in.messages) {
      const before = this.#messages.get(message.rawId);
      if (before !== undefined) {
        throw this.#fail(
          message.line,
          `message ${message.name} has the id of ${before.name} in line ${before.line} (${message.rawId})`,
        );
      }
      this.#messages.set(message.rawId, message);
      this.#messageExtras.set(message.rawId, { comment: '', attributes: new Map() });
      const names = new Map<string, number>();
      for (const signal of message.signals) {
        const line = names.get(signal.name);
        if (line !== undefined) {
          throw this.#fail(signal.line, `message ${message.name} has signal ${signal.name} already, in line ${line}`);
        }
        names.set(signal.name, signal.line);
        this.#signalExtras.set(key(message.rawId, signal.name), {
          comment: '',
          attributes: new Map(),
          labels: new Map(),
          float: 'none',
          mux: undefined,
        });
      }
    }
  }

  /** An attribute that has a default has it everywhere. */
  #applyDefaults(): void {
    for (const [name, value] of this.#in.defaults) {
      const kind = this.#in.definitions.get(name)?.kind;
      const named = this.#attributeValue(name, value);
      if (kind === 'network') this.#attributes.set(name, named);
      if (kind === 'message') for (const extras of this.#messageExtras.values()) extras.attributes.set(name, named);
      if (kind === 'signal') for (const extras of this.#signalExtras.values()) extras.attributes.set(name, named);
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
      else this.#about(line, target, (extras) => extras.attributes.set(name, named));
    }
    for (const { line, rawId, signal, labels } of this.#in.labels) {
      const extras = this.#signal(line, rawId, signal);
      if (extras !== undefined) extras.labels = labels;
    }
    for (const { line, rawId, signal, type } of this.#in.floats) {
      if (type !== 0 && type !== 1 && type !== 2) {
        throw this.#fail(line, `signal ${signal}: value type ${type} is none (0 integer, 1 float, 2 double)`);
      }
      const extras = this.#signal(line, rawId, signal);
      if (extras !== undefined) extras.float = type === 0 ? 'none' : type === 1 ? 'single' : 'double';
    }
    for (const { line, rawId, signal, by, ranges } of this.#in.muxRanges) {
      const extras = this.#signal(line, rawId, signal);
      if (extras !== undefined && this.#signal(line, rawId, by) !== undefined) extras.mux = { by, ranges };
    }
  }

  /** An ENUM attribute is written as the label or as its number; it is kept as the label. */
  #attributeValue(name: string, value: number | string): number | string {
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
    const extras = this.#signalExtras.get(key(rawId, name));
    if (extras === undefined) this.#warn(line, `message ${rawId} has no signal ${name}`);
    return extras;
  }

  #message(statement: MessageStatement): DbcMessage {
    const { line, rawId, name, length, sender } = statement;
    const ext = rawId >= EXTENDED;
    const id = ext ? rawId - EXTENDED : rawId;
    if (rawId < 0 || id > (ext ? MAX_EXTENDED_ID : MAX_STANDARD_ID)) {
      throw this.#fail(
        line,
        `message ${name}: ${rawId} is no id (at most ${MAX_STANDARD_ID}, or ${EXTENDED} plus at most ${MAX_EXTENDED_ID})`,
      );
    }
    if (length < 0 || length > MAX_MESSAGE_LENGTH) throw this.#fail(line, `message ${name} has ${length} bytes`);
    const { comment, attributes } = this.#messageExtras.get(rawId)!;
    const cycle = attributes.get('GenMsgCycleTime');
    const format = attributes.get('VFrameFormat');
    const usual = this.#attributeValue('VFrameFormat', this.#in.defaults.get('VFrameFormat') ?? '');
    const j1939 = saysJ1939(ext, attributes, this.#attributes, usual);
    return {
      id,
      ext,
      name,
      length,
      // Some tools write the number without defining the labels: 14 and 15 are the FD formats.
      fd:
        !j1939 &&
        (length > 8 || format === 14 || format === 15 || (typeof format === 'string' && format.endsWith('_FD'))),
      j1939,
      cycleMs: typeof cycle === 'number' && cycle > 0 ? cycle : 0,
      sender,
      signals: statement.signals.map((signal) => this.#buildSignal(statement, signal)),
      comment,
      attributes,
    };
  }

  #buildSignal(message: MessageStatement, statement: SignalStatement): DbcSignal {
    const { line, name, startBit, length, factor } = statement;
    const { comment, attributes, labels, float, mux } = this.#signalExtras.get(key(message.rawId, name))!;
    if (length < 1 || length > 64) throw this.#fail(line, `signal ${name} has ${length} bits; 1 to 64 are possible`);
    if (factor === 0) throw this.#fail(line, `signal ${name} has factor 0, so it would have one value only`);
    if (float !== 'none' && length !== (float === 'single' ? 32 : 64)) {
      throw this.#fail(line, `signal ${name} is a ${float} float and has ${length} bits`);
    }
    const lastByte = statement.bigEndian
      ? ((startBit >> 3) * 8 + 7 - (startBit & 7) + length - 1) >> 3
      : (startBit + length - 1) >> 3;
    if (startBit < 0 || lastByte >= message.length) {
      throw this.#fail(line, `signal ${name} does not fit into the ${message.length} bytes of message ${message.name}`);
    }
    const start = attributes.get('GenSigStartValue');
    return {
      name,
      startBit,
      length,
      bigEndian: statement.bigEndian,
      signed: statement.signed,
      float,
      factor,
      offset: statement.offset,
      min: statement.min,
      max: statement.max,
      unit: statement.unit,
      receivers: statement.receivers,
      isMultiplexer: statement.mux.endsWith('M'),
      mux: this.#mux(message, statement, mux),
      labels: statement.signed && float === 'none' ? withNegativeKeys(labels, length) : labels,
      comment,
      startRaw: typeof start === 'number' ? start : 0,
      attributes,
    };
  }

  #mux(message: MessageStatement, signal: SignalStatement, extended: DbcMux | undefined): DbcMux | undefined {
    if (!signal.mux.startsWith('m')) return undefined;
    if (extended !== undefined) {
      if (dependsOnItself(message, extended, this.#signalExtras, signal.name)) {
        throw this.#fail(signal.line, `signal ${signal.name} depends on itself through its multiplexers`);
      }
      return extended;
    }
    const multiplexers = message.signals.filter((other) => other.mux.endsWith('M') && other !== signal);
    const plain = multiplexers.filter((other) => other.mux === 'M');
    const by = multiplexers.length === 1 ? multiplexers[0] : plain.length === 1 ? plain[0] : undefined;
    if (by === undefined) {
      throw this.#fail(
        signal.line,
        multiplexers.length === 0
          ? `signal ${signal.name} is multiplexed (${signal.mux}), but message ${message.name} has no multiplexer`
          : `signal ${signal.name} is multiplexed, and no SG_MUL_VAL_ says by which of ${multiplexers.length} multiplexers`,
      );
    }
    const value = Number.parseInt(signal.mux.slice(1), 10);
    return { by: by.name, ranges: [[value, value]] };
  }

  #warn(line: number, what: string): void {
    this.#warnings.push(`${this.#file}:${line}: ${what}`);
  }

  #fail(line: number, what: string) {
    return dbcError(this.#file, line, what);
  }
}

function key(rawId: number, signal: string): string {
  return `${rawId} ${signal}`;
}

/** Tools name the values of signed signals by their bits as well: 32768 for -32768 in 16 bits. */
function withNegativeKeys(labels: ReadonlyMap<number, string>, length: number): ReadonlyMap<number, string> {
  const half = 2 ** (length - 1);
  const folded = new Map<number, string>();
  for (const [value, label] of labels) folded.set(value >= half ? value - 2 * half : value, label);
  return folded;
}

function dependsOnItself(
  message: MessageStatement,
  first: DbcMux,
  extras: ReadonlyMap<string, SignalExtras>,
  name: string,
): boolean {
  let by: string | undefined = first.by;
  for (let steps = 0; by !== undefined && steps <= message.signals.length; steps++) {
    if (by === name) return true;
    by = extras.get(key(message.rawId, by))?.mux?.by;
  }
  return by !== undefined;
}

/** The signals of one message of a DBC file, out of its statements. */

import { type Exact, exact, parseExact } from '../../base/exact.ts';
import type { DbcMux, DbcSignal } from '../dbc.ts';
import { largestFloat } from '../signal-codec.ts';
import type { SignalExtras } from './dbc-extras.ts';
import type { MessageStatement, SignalStatement } from './dbc-statement.ts';

/** Bits of the longest CAN FD frame. */
const MAX_SIGNAL_BITS = 512;
const MAX_BYTES = 1785;

export interface SignalContext {
  /** By the short names of the signals. */
  readonly extras: ReadonlyMap<string, SignalExtras>;
  /** Of how many signals the start value that is the default of all is one, and of how many it is not. */
  readonly defaultStarts: { fit: number; unfit: number };
  readonly warn: (line: number, what: string) => void;
}

/** A signal, and its place in the file while the signals of a message are held against one another. */
interface Candidate {
  readonly statement: SignalStatement;
  readonly signal: DbcSignal;
}

/** Signals that cannot be used are left out, each with a warning. */
export function buildSignals(message: MessageStatement, context: SignalContext): readonly DbcSignal[] {
  const built: Candidate[] = [];
  for (const statement of message.signals) {
    const fault = layoutFault(statement);
    if (fault !== undefined) {
      context.warn(statement.line, `signal ${statement.name} is left out: ${fault}`);
      continue;
    }
    const mux = muxOf(message, statement, context);
    if (typeof mux === 'string') context.warn(statement.line, `signal ${statement.name} is left out: ${mux}`);
    else built.push({ statement, signal: buildSignal(message, statement, mux, context) });
  }
  const whole = withoutOrphans(built, context);
  return withLongNames(withoutDoubles(message, whole, context), context).map(({ signal }) => signal);
}

function layoutFault({ startBit, length, bigEndian, factor, offset }: SignalStatement): string | undefined {
  if (length < 1 || length > MAX_SIGNAL_BITS) return `it has ${length} bits; 1 to ${MAX_SIGNAL_BITS} are possible`;
  if (!Number.isFinite(factor) || !Number.isFinite(offset))
    return `its factor ${factor} or offset ${offset} is too large`;
  if (startBit < 0 || lastByteOf({ startBit, length, bigEndian }) >= MAX_BYTES) return `bit ${startBit} is in no frame`;
  return undefined;
}

function lastByteOf({ startBit, length, bigEndian }: Pick<SignalStatement, 'startBit' | 'length' | 'bigEndian'>) {
  const first = bigEndian ? Math.floor(startBit / 8) * 8 + 7 - (startBit % 8) : startBit;
  return Math.floor((first + length - 1) / 8);
}

function buildSignal(
  message: MessageStatement,
  statement: SignalStatement,
  mux: DbcMux | undefined,
  context: SignalContext,
): DbcSignal {
  const { line, name, startBit, length, bigEndian, signed, factor, offset, min, max, unit, receivers } = statement;
  const extras = context.extras.get(name)!;
  const last = lastByteOf(statement);
  if (last >= message.length) {
    const where = `the ${message.length} bytes of message ${message.name}`;
    context.warn(line, `signal ${name} does not fit into ${where}: only frames of ${last + 1} bytes and more have it`);
  }
  if (factor === 0) context.warn(line, `signal ${name} has factor 0: its value is always ${offset}, and cannot be set`);
  const float = floatOf(statement, extras, context);
  return {
    name,
    shortName: name,
    startBit,
    length,
    bigEndian,
    signed,
    float,
    factor,
    offset,
    min,
    max,
    unit,
    receivers,
    isMultiplexer: statement.mux.endsWith('M') || isNamedMultiplexer(statement, context),
    mux,
    labels:
      signed && float === 'none'
        ? new Map([...extras.labels].map(([value, label]) => [foldedTo(value, length), label]))
        : extras.labels,
    comment: extras.comment,
    startRaw: startRawOf({ ...statement, float }, message, extras, context),
    attributes: extras.attributes,
  };
}

/** Its bits say of which kind a float is, as in other readers. */
function floatOf({ name, length }: SignalStatement, extras: SignalExtras, context: SignalContext): DbcSignal['float'] {
  if (!extras.isFloat) return 'none';
  const float = ({ 16: 'half', 32: 'single', 64: 'double' } as const)[length];
  if (float === undefined) {
    context.warn(extras.floatLine, `signal ${name} has ${length} bits, and no float has: it is read as an integer`);
  }
  return float ?? 'none';
}

function startRawOf(
  signal: Pick<DbcSignal, 'name' | 'length' | 'signed' | 'float'>,
  message: MessageStatement,
  extras: SignalExtras,
  context: SignalContext,
): Exact {
  const given = extras.attributes.get('GenSigStartValue');
  if (given === undefined || given === '') return 0;
  const value = typeof given === 'string' ? parseExact(given) : given;
  const { length, signed, float } = signal;
  const folded = signed && float === 'none' ? foldedTo(value, length) : value;
  const fits = float !== 'none' ? Math.abs(Number(folded)) <= largestFloat[float] : holds(length, signed, folded);
  const line = extras.attributeLines.get('GenSigStartValue');
  if (line === undefined) context.defaultStarts[fits ? 'fit' : 'unfit']++;
  if (fits) return folded;
  // Nobody has said it of this signal: a default of all is too large for some.
  if (line === undefined) return 0;
  const bits = `${length} ${signed ? 'signed ' : ''}${length === 1 ? 'bit' : 'bits'}`;
  const kind = float === 'none' ? `an integer of ${bits}` : `a ${float} float`;
  context.warn(
    line,
    `signal ${signal.name} of message ${message.name} cannot start as ${given}: its raw value is ${kind}; it starts as 0`,
  );
  return 0;
}

function holds(length: number, signed: boolean, value: Exact): boolean {
  if (typeof value === 'number' && !Number.isInteger(value)) return false;
  return signed ? value >= -(2 ** (length - 1)) && value < 2 ** (length - 1) : value >= 0 && value < 2 ** length;
}

/** Whether an SG_MUL_VAL_ says that others depend on this signal. */
function isNamedMultiplexer({ name }: SignalStatement, { extras }: SignalContext): boolean {
  for (const { mux } of extras.values()) if (mux?.by === name) return true;
  return false;
}

/**
 * What a signal depends on, or why that cannot be told. SG_MUL_VAL_ counts for every signal, however it is marked in its
 * own line: tools mark multiplexers that are multiplexed themselves as `M` as well as `m1M`.
 */
function muxOf(
  message: MessageStatement,
  signal: SignalStatement,
  context: SignalContext,
): DbcMux | string | undefined {
  const { extras } = context;
  const stated = extras.get(signal.name)!.mux;
  const isMarked = signal.mux.startsWith('m');
  const value = Number.parseInt(signal.mux.slice(1), 10);
  if (stated !== undefined) {
    if (dependsOnItself(signal.name, extras)) return 'it depends on itself through its multiplexers';
    // Of several signals of one name, which all these statements are about, the mark says which one this is.
    const isOneOfSeveral = isMarked && message.signals.some((one) => one !== signal && one.name === signal.name);
    return { by: stated.by, ranges: isOneOfSeveral ? [[value, value]] : stated.ranges };
  }
  if (!isMarked) return undefined;
  const others = message.signals.filter((other) => other.mux.endsWith('M') && other !== signal);
  const roots = others.filter((other) => other.mux === 'M' && extras.get(other.name)!.mux === undefined);
  const by = others.length === 1 ? others[0] : roots.length === 1 ? roots[0] : undefined;
  if (by === undefined) {
    return others.length === 0
      ? `it is multiplexed (${signal.mux}), but message ${message.name} has no multiplexer`
      : `it is multiplexed, and no SG_MUL_VAL_ says by which of ${others.length} multiplexers`;
  }
  return { by: by.name, ranges: [[value, value]] };
}

function dependsOnItself(name: string, extras: SignalContext['extras']): boolean {
  const seen = new Set<string>();
  for (let by: string | undefined = name; by !== undefined; by = extras.get(by)?.mux?.by) {
    if (seen.has(by)) return true;
    seen.add(by);
  }
  return false;
}

/** Without those whose multiplexer was left out: nobody can tell whether they are in a frame. */
function withoutOrphans(all: readonly Candidate[], context: SignalContext): readonly Candidate[] {
  const names = new Set(all.map(({ signal }) => signal.name));
  const kept = all.filter(({ signal: { mux } }) => mux === undefined || names.has(mux.by));
  if (kept.length === all.length) return kept;
  for (const { statement, signal } of all) {
    if (signal.mux === undefined || names.has(signal.mux.by)) continue;
    context.warn(statement.line, `signal ${signal.name} is left out, as its multiplexer ${signal.mux.by} is`);
  }
  return withoutOrphans(kept, context);
}

/** One name may be there several times where the multiplexers never select two of them together. */
function withoutDoubles(
  message: MessageStatement,
  all: readonly Candidate[],
  context: SignalContext,
): readonly Candidate[] {
  const byName = new Map<string, Candidate[]>();
  const muxes = new Map(all.map(({ signal }) => [signal.name, signal.mux]));
  const chain = (mux: DbcMux | undefined): DbcMux[] => {
    const links: DbcMux[] = [];
    for (let link = mux; link !== undefined && links.length <= all.length; link = muxes.get(link.by)) links.push(link);
    return links;
  };
  return all.filter((candidate) => {
    const { statement, signal } = candidate;
    const before = byName.get(signal.name) ?? [];
    const other = before.find((one) => !exclude(chain(one.signal.mux), chain(signal.mux)));
    if (other !== undefined) {
      const where = `in line ${other.statement.line}`;
      context.warn(
        statement.line,
        `signal ${signal.name} is left out: message ${message.name} has one of this name already, ${where}`,
      );
      return false;
    }
    byName.set(signal.name, [...before, candidate]);
    return true;
  });
}

/** Whether what depends on the one is never in a frame with what depends on the other. */
function exclude(a: readonly DbcMux[], b: readonly DbcMux[]): boolean {
  return a.some((one) =>
    b.some(
      (other) =>
        one.by === other.by &&
        one.ranges.every(([low, high]) => other.ranges.every(([from, to]) => high < from || to < low)),
    ),
  );
}

/** Gives signals their long names, as far as no two different ones have the same. */
function withLongNames(all: readonly Candidate[], context: SignalContext): readonly Candidate[] {
  const names = new Map<string, string>();
  const taken = new Map(all.map(({ signal }) => [signal.name, signal.shortName]));
  for (const { statement, signal } of all) {
    const name = signal.attributes.get('SystemSignalLongSymbol');
    if (typeof name !== 'string' || name === '' || names.has(signal.shortName)) continue;
    if ((taken.get(name) ?? signal.shortName) !== signal.shortName) {
      context.warn(statement.line, `signal ${signal.name}: its long name ${name} is the name of another signal`);
      continue;
    }
    taken.set(name, signal.shortName);
    names.set(signal.shortName, name);
  }
  if (names.size === 0) return all;
  return all.map(({ statement, signal }) => {
    const mux = signal.mux && { by: names.get(signal.mux.by) ?? signal.mux.by, ranges: signal.mux.ranges };
    return { statement, signal: { ...signal, mux, name: names.get(signal.shortName) ?? signal.shortName } };
  });
}

/** Tools name the values of signed signals by their bits as well: 32768 for -32768 in 16 bits. */
function foldedTo(value: Exact, length: number): Exact {
  if (typeof value === 'number' && !Number.isInteger(value)) return value;
  if (value < 2 ** (length - 1) || value >= 2 ** length) return value;
  return exact(BigInt.asIntN(length, BigInt(value)));
}

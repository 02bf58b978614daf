/** What `kerb dbc check` says of a file. */
import { isKerbError } from '../base/errors.ts';
import type { Dbc, DbcMessage } from './dbc.ts';
import { compileMessage, type MessageSignal } from './message-codec.ts';
import { loadDbc } from './parser/dbc-parser.ts';

/** Overlaps of one file that are kept. */
const MAX_OVERLAPS = 100;

export interface DbcReport {
  readonly file: string;
  readonly messages: number;
  readonly signals: number;
  /** `file:line: sentence`; of very many only the first. */
  readonly problems: readonly string[];
  readonly problemCount: number;
  /** Signals that share bits: allowed, and worth knowing for who sets one of them. */
  readonly overlaps: readonly string[];
}

/** A file that cannot be read at all is a report of one problem. */
export async function checkDbc(file: string): Promise<DbcReport> {
  let dbc: Dbc;
  try {
    dbc = await loadDbc(file);
  } catch (error) {
    if (!isKerbError(error)) throw error;
    return { file, messages: 0, signals: 0, problems: [error.message], problemCount: 1, overlaps: [] };
  }
  const overlaps: string[] = [];
  for (const message of dbc.messages) {
    if (overlaps.length >= MAX_OVERLAPS) break;
    for (const [a, b] of overlapsOf(message)) {
      overlaps.push(`${file}:${message.line}: message ${message.name}: ${a} and ${b} share bits`);
    }
  }
  return {
    file,
    messages: dbc.messages.length,
    signals: dbc.messages.reduce((sum, { signals }) => sum + signals.length, 0),
    problems: dbc.warnings,
    problemCount: dbc.warningCount,
    overlaps: overlaps.slice(0, MAX_OVERLAPS),
  };
}

/** Pairs of signals of a message that share bits and are in the same frames: those of one multiplexer value, or none. */
function overlapsOf(message: DbcMessage): [string, string][] {
  const { signals } = compileMessage(message);
  const pairs: [string, string][] = [];
  for (const [i, a] of signals.entries()) {
    for (const b of signals.slice(i + 1)) {
      if (pairs.length >= MAX_OVERLAPS) return pairs;
      if (canMeet(a, b) && a.overlaps(b)) pairs.push([a.signal.name, b.signal.name]);
    }
  }
  return pairs;
}

function canMeet(a: MessageSignal, b: MessageSignal): boolean {
  for (let one: MessageSignal | undefined = a; one?.selector !== undefined; one = one.selector) {
    for (let other: MessageSignal | undefined = b; other?.selector !== undefined; other = other.selector) {
      if (one.selector !== other.selector) continue;
      const ranges = other.signal.mux!.ranges;
      const meets = one.signal.mux!.ranges.some(([low, high]) =>
        ranges.some(([from, to]) => low <= to && from <= high),
      );
      if (!meets) return false;
    }
  }
  return true;
}

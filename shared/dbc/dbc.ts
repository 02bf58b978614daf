/**
 * A CAN database as the runtime uses it. Where the DBC format writes defaults, flags in ids or things said twice, this
 * holds what they mean. Read from files by dbc-parser.ts.
 */

import type { Exact } from '../base/exact.ts';

export interface DbcMux {
  /** The signal whose bits decide, in the same message. */
  readonly by: string;
  /** Its bits as unsigned numbers with which this signal is in the frame, inclusive on both ends. */
  readonly ranges: readonly (readonly [number, number])[];
}

export interface DbcSignal {
  /** The long name (SystemSignalLongSymbol) where the file has one. */
  readonly name: string;
  /** As it stands in the SG_ line, at most 32 characters; the same as `name` where there is no long one. */
  readonly shortName: string;
  /** As in the file: the least significant bit when little-endian, the most significant one when big-endian. */
  readonly startBit: number;
  /** Bits, 1..512. Of a signal that does not fit into its message, only longer frames have it. */
  readonly length: number;
  /** Motorola byte order. */
  readonly bigEndian: boolean;
  readonly signed: boolean;
  /** IEEE 754 instead of an integer: of 16, 32 or 64 bits. */
  readonly float: 'none' | 'half' | 'single' | 'double';
  /** physical = raw * factor + offset. */
  readonly factor: number;
  readonly offset: number;
  /** Physical range; both 0 when the file gives none. */
  readonly min: number;
  readonly max: number;
  readonly unit: string;
  readonly receivers: readonly string[];
  /** Other signals depend on this one's value. */
  readonly isMultiplexer: boolean;
  /** Present only with some values of another signal. */
  readonly mux: DbcMux | undefined;
  /** Raw value to its name. */
  readonly labels: ReadonlyMap<Exact, string>;
  readonly comment: string;
  /** Raw value before the first one is known (GenSigStartValue), 0 when the file gives none that fits. */
  readonly startRaw: Exact;
  readonly attributes: ReadonlyMap<string, AttributeValue>;
}

export type AttributeValue = Exact | string;

export interface DbcMessage {
  /** Line of the file. */
  readonly line: number;
  /** Without flags. */
  readonly id: number;
  readonly ext: boolean;
  /** The long name (SystemMessageLongSymbol) where the file has one. */
  readonly name: string;
  /** As it stands in the BO_ line; the same as `name` where there is no long one. */
  readonly shortName: string;
  /** Bytes. */
  readonly length: number;
  /** CAN FD frame (VFrameFormat StandardCAN_FD or ExtendedCAN_FD, or longer than 8 bytes). */
  readonly fd: boolean;
  /** The file says that it is a message of SAE J1939: it matches by its PGN, and more than 8 bytes take several frames. */
  readonly j1939: boolean;
  /** Milliseconds between frames (GenMsgCycleTime); 0 when not cyclic or unknown. */
  readonly cycleMs: number;
  readonly sender: string;
  readonly signals: readonly DbcSignal[];
  readonly comment: string;
  readonly attributes: ReadonlyMap<string, AttributeValue>;
}

export interface Dbc {
  /** Where it came from, for messages. */
  readonly file: string;
  readonly version: string;
  readonly nodes: readonly string[];
  readonly messages: readonly DbcMessage[];
  readonly valueTables: ReadonlyMap<string, ReadonlyMap<Exact, string>>;
  readonly comment: string;
  readonly attributes: ReadonlyMap<string, AttributeValue>;
  /**
   * What is wrong in the file, `file:line: sentence`, in the order of lines. Each has cost what it names and nothing
   * else. Of very many only the first are here.
   */
  readonly warnings: readonly string[];
  /** How many there are. */
  readonly warningCount: number;
  /** Names of signals that are in the file and were left out, as far as they could be read. */
  readonly lost: ReadonlySet<string>;
}

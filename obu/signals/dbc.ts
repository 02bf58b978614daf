/**
 * A CAN database as the runtime uses it. Where the DBC format writes defaults, flags in ids or things said twice, this
 * holds what they mean. Read from files by dbc-parser.ts.
 */

export interface DbcMux {
  /** The signal whose raw value decides, in the same message. */
  readonly by: string;
  /** Raw values of it with which this signal is in the frame, inclusive on both ends. */
  readonly ranges: readonly (readonly [number, number])[];
}

export interface DbcSignal {
  readonly name: string;
  /** As in the file: the least significant bit when little-endian, the most significant one when big-endian. */
  readonly startBit: number;
  /** Bits, 1..64. */
  readonly length: number;
  /** Motorola byte order. */
  readonly bigEndian: boolean;
  readonly signed: boolean;
  /** IEEE 754 instead of an integer. */
  readonly float: 'none' | 'single' | 'double';
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
  readonly labels: ReadonlyMap<number, string>;
  readonly comment: string;
  /** Raw value before the first one is known (GenSigStartValue), 0 when the file gives none. */
  readonly startRaw: number;
  readonly attributes: ReadonlyMap<string, number | string>;
}

export interface DbcMessage {
  /** Without flags. */
  readonly id: number;
  readonly ext: boolean;
  readonly name: string;
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
  readonly attributes: ReadonlyMap<string, number | string>;
}

export interface Dbc {
  /** Where it came from, for messages. */
  readonly file: string;
  readonly version: string;
  readonly nodes: readonly string[];
  readonly messages: readonly DbcMessage[];
  readonly valueTables: ReadonlyMap<string, ReadonlyMap<number, string>>;
  readonly comment: string;
  readonly attributes: ReadonlyMap<string, number | string>;
  /** Statements about messages or signals that the file does not have, `file:line: sentence`. They change nothing. */
  readonly warnings: readonly string[];
}

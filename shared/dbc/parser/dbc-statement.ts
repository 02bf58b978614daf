import type { Exact } from '../../base/exact.ts';
import type { AttributeValue } from '../dbc.ts';

/** The statements of a DBC file as plain records, each with its line; see dbc-reader.ts. */

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

/** Something that is wrong in the file. */
export interface DbcProblem {
  readonly line: number;
  readonly what: string;
}

export interface DbcStatements {
  /** Statements that were understood, those that are read over included. */
  count: number;
  readonly problems: DbcProblem[];
  /** Names of signals whose line, or that of their message, could not be read. */
  readonly lost: Set<string>;
  version: string;
  nodes: string[];
  readonly messages: MessageStatement[];
  readonly valueTables: Map<string, ReadonlyMap<Exact, string>>;
  readonly labels: { line: number; rawId: number; signal: string; labels: ReadonlyMap<Exact, string> }[];
  readonly comments: { line: number; target: Target; text: string }[];
  readonly definitions: Map<string, AttributeDefinition>;
  readonly defaults: Map<string, { line: number; value: AttributeValue }>;
  readonly attributes: { line: number; name: string; target: Target; value: AttributeValue }[];
  readonly floats: { line: number; rawId: number; signal: string; type: number }[];
  readonly muxRanges: { line: number; rawId: number; signal: string; by: string; ranges: [number, number][] }[];
}

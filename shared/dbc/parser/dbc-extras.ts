/** What a DBC file says about a message or a signal outside of its own line. */

import type { Exact } from '../../base/exact.ts';
import type { AttributeValue } from '../dbc.ts';

export interface Extras {
  comment: string;
  readonly attributes: Map<string, AttributeValue>;
  /** Line of an attribute that is not the default of all. */
  readonly attributeLines: Map<string, number>;
}

export interface SignalExtras extends Extras {
  labels: ReadonlyMap<Exact, string>;
  isFloat: boolean;
  floatLine: number;
  /** From SG_MUL_VAL_, by short names. */
  mux: { readonly by: string; readonly ranges: [number, number][]; readonly line: number } | undefined;
}

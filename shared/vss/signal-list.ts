/**
 * Leaves whose values are lists (VSS data types such as `uint8[]`). No CAN signal is one: they come from workloads and
 * from defaults. Limits and allowed values hold for each item.
 */
import { datatypes, datumFault } from './datatype.ts';
import type { LeafValue, SignalDatum, SignalInfo } from './signal.ts';

/** Items that a list may have. */
const MAX_ITEMS = 4096;

export const listDatatypes: readonly string[] = datatypes.map((datatype) => `${datatype}[]`);

/** The data type of the items, or of the value itself where it is no list. */
export function itemType(datatype: string): string {
  return datatype.endsWith('[]') ? datatype.slice(0, -2) : datatype;
}

export function isListType(datatype: string): boolean {
  return datatype.endsWith('[]');
}

export function isListValue(value: LeafValue): value is readonly SignalDatum[] {
  return Array.isArray(value);
}

/** Why this is not a value of the leaf, as the end of a sentence; undefined when it is one. */
export function valueFault(
  limits: Pick<SignalInfo, 'datatype' | 'min' | 'max' | 'allowed'>,
  value: LeafValue,
): string | undefined {
  const { datatype } = limits;
  if (!isListValue(value)) {
    return isListType(datatype) ? `is a ${datatype}, not a ${typeof value}` : datumFault(limits, value);
  }
  if (!isListType(datatype)) return `is a ${datatype}, not a list`;
  if (value.length > MAX_ITEMS) return `has at most ${MAX_ITEMS} items, not ${value.length}`;
  const item = { ...limits, datatype: itemType(datatype) };
  for (const [i, one] of value.entries()) {
    const fault = datumFault(item, one);
    if (fault !== undefined) return `[${i}] ${fault}`;
  }
  return undefined;
}

export function sameValue(a: LeafValue, b: LeafValue): boolean {
  if (!isListValue(a) || !isListValue(b)) return a === b;
  return a.length === b.length && a.every((one, i) => one === b[i]);
}

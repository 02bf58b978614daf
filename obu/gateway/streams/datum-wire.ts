/** The fields of a value on the wire of gateway.proto, items of lists among them. */
import type { kerbside } from '../../../shared/protocol/generated/gateway.js';
import type { LeafValue, SignalDatum } from '../../../shared/vss/signal.ts';
import { isListValue } from '../../../shared/vss/signal-list.ts';

type WireValue = kerbside.gateway.v1.SignalValue.$Properties;

export function toWireFields(value: LeafValue): WireValue {
  return isListValue(value) ? { list: { values: value.map(datumFields) } } : datumFields(value);
}

export function datumFields(value: SignalDatum): WireValue {
  if (typeof value === 'bigint') return { number: Number(value), digits: value.toString() };
  if (typeof value === 'number') return { number: value };
  return typeof value === 'boolean' ? { boolean: value } : { text: value };
}

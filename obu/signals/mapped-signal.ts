/** What is to be known of a mapped path in one message, worked out once. */
import type { Exact } from '../../shared/base/exact.ts';
import { noValueFrom, saysNoValue } from '../../shared/dbc/j1939-spn.ts';
import type { MessageCodec, MessageSignal } from '../../shared/dbc/message-codec.ts';
import { rangeOf } from '../../shared/dbc/signal-codec.ts';
import type { VssFeed } from '../../shared/vss/vss-mapping.ts';
import type { SignalLosses } from './signal-losses.ts';
import type { Slot } from './signal-slot.ts';

/** Values whose name says that they are none: "SNA" (signal not available) in many databases, and its like. */
const noValue = /(^|_)(SNA|INVALID|NOT_AVAILABLE|UNAVAILABLE|NOT_VALID)$/i;
/** One mapped path in one message. */
export interface MappedSignal {
  readonly slot: Slot;
  readonly mapping: VssFeed;
  readonly codec: MessageSignal;
  readonly conditions: readonly { readonly codec: MessageSignal; readonly value: number }[];
  /** Physical values outside of these have no meaning, unless they have a name. */
  readonly low: number;
  readonly high: number;
  /** By raw value: its name, and whether that says that it is none. Undefined when no value has a name. */
  readonly names: ReadonlyMap<Exact, { readonly label: string; readonly isNone: boolean }> | undefined;
  /** Raw values from here on are none, unless they have a name. */
  readonly noneFrom: Exact;
  readonly losses: SignalLosses;
}

export function mappedSignal(slot: Slot, mapping: VssFeed, codec: MessageSignal, message: MessageCodec): MappedSignal {
  const { labels } = codec.signal;
  const { low, high } = rangeOf(codec.signal);
  const noneFrom = noValueFrom(message.message, codec.signal);
  const isNone = (raw: Exact, label: string) => noValue.test(label) || (raw >= noneFrom && saysNoValue(label));
  return {
    slot,
    mapping,
    codec,
    noneFrom,
    conditions: mapping.multiplexer.map((one) => ({ codec: message.signal(one.signal), value: one.value })),
    // Infinity and NaN are no values, whatever the range.
    low: Math.max(low, -Number.MAX_VALUE),
    high: Math.min(high, Number.MAX_VALUE),
    names:
      labels.size === 0
        ? undefined
        : new Map([...labels].map(([raw, label]) => [raw, { label, isNone: isNone(raw, label) }])),
    losses: { absent: 0, unselected: 0, last: undefined },
  };
}

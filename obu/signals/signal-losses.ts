/** Why a source on a bus gives no value although it might: what was lost, and the sentence for a person. */

import type { Exact } from '../../shared/base/exact.ts';
import { formatCanId } from '../../shared/can/frame.ts';
import type { DbcMessage } from '../../shared/dbc/dbc.ts';
import type { MessageSignal } from '../../shared/dbc/message-codec.ts';
import type { SignalInfo } from '../../shared/vss/signal.ts';
import type { Slot } from './signal-slot.ts';

export interface SignalLosses {
  /** Frames without the signal: its multiplexer selects another, or they are too short. */
  absent: number;
  /** Frames in which what the mapping asks of its multiplexer does not hold. */
  unselected: number;
  /** The last value that was none. */
  last: LostValue | undefined;
}

export interface LostValue {
  readonly physical: Exact;
  readonly label: string | undefined;
  /** Its database calls it no value, J1939 does ("error" or "not available"), or it has none in VSS. */
  readonly kind: 'invalid' | 'unavailable' | 'ignored';
  /** On the clock of the tree. */
  readonly atMs: number;
}

export interface LosingSource {
  readonly slot: Slot;
  readonly codec: MessageSignal;
  readonly conditions: readonly { readonly codec: MessageSignal; readonly value: number }[];
  readonly losses: SignalLosses;
  readonly message: DbcMessage;
  readonly bus: string;
  /** Of the message so far. */
  readonly frames: number;
}

/** A sentence without a full stop; empty when the source has a fresh value. */
export function whyNoValue(source: LosingSource): string {
  const { slot, codec, losses, frames, bus } = source;
  if (slot.fresh) return '';
  const message = `${source.message.name} (${formatCanId(source.message.id, source.message.ext)})`;
  if (frames === 0) return `no frame of message ${message} has come on ${bus}`;
  const came = `${frames} ${frames === 1 ? 'frame' : 'frames'} of message ${message} came on ${bus}`;
  const { name } = codec.signal;
  if (losses.last !== undefined && losses.last.atMs >= slot.seenMs) {
    const since = slot.value === undefined ? 'every value' : 'every value since the last good one';
    return `${came}, and ${since} of ${name} was dropped: ${lossOf(losses.last, codec, slot.leaf.info)}`;
  }
  if (slot.value !== undefined) return `no frame of message ${message} with ${name} has come on ${bus} lately`;
  if (losses.unselected > 0) {
    const wanted = source.conditions.map(({ codec: other, value }) => `${other.signal.name} = ${value}`).join(' and ');
    return `${came}, and none with ${wanted}, which its mapping asks for`;
  }
  const { mux } = codec.signal;
  const short = `they are shorter than ${codec.minLength} bytes`;
  return `${came}, and ${name} was in none of them: ${mux === undefined ? short : `${mux.by} never selected it, or ${short}`}`;
}

function lossOf({ physical, label, kind }: LostValue, { signal }: MessageSignal, info: SignalInfo): string {
  const unit = signal.unit === '' ? '' : ` ${signal.unit}`;
  const last = `the last was ${physical}${unit}`;
  if (kind !== 'ignored') {
    if (label !== undefined) return `the last was "${label}", which says that there is none`;
    if (!Number.isFinite(Number(physical))) return `the last was ${physical}, which is not a value`;
    if (kind === 'unavailable') return `${last}, which J1939 reserves for "error" and "not available"`;
    return `${last}, and its database has a range of ${signal.min} to ${signal.max}`;
  }
  const limits = [
    info.min === undefined ? '' : ` of at least ${info.min}`,
    info.max === undefined ? '' : ` of at most ${info.max}`,
    info.allowed === undefined ? '' : ` out of ${info.allowed.slice(0, 10).join(', ')}`,
  ].join('');
  const shown = label === undefined ? last : `${last} ("${label}")`;
  return `${shown}, which its mapping does not turn into a ${info.datatype}${limits}`;
}

/** How a path is set on CAN, worked out from its mapping before anything is sent. */
import type { FrameChecksum } from '../../shared/dbc/checksum.ts';
import type { DbcMessage } from '../../shared/dbc/dbc.ts';
import { withAddresses } from '../../shared/dbc/j1939.ts';
import type { MessageCodec, MessageSignal } from '../../shared/dbc/message-codec.ts';
import type { LeafValue, SignalDatum } from '../../shared/vss/signal.ts';
import { isListValue } from '../../shared/vss/signal-list.ts';
import { badLeaf } from '../../shared/vss/vss-file.ts';
import type { VssLeaf, VssTarget } from '../../shared/vss/vss-mapping.ts';
import type { CanFeed, PlacedMessage } from './can-feed.ts';
import { overlapFault, type TargetMessage } from './target-message.ts';

/** How one path is set on CAN. */
export interface CanTarget {
  readonly mapping: VssTarget;
  readonly message: TargetMessage;
  readonly signal: MessageSignal;
  readonly counter: MessageSignal | undefined;
  readonly checksum: FrameChecksum | undefined;
  /** Of the frame. */
  readonly id: number;
  /** Why no frame can carry its values, if none can. */
  readonly fault: string | undefined;
  /** The path that acknowledges, and how what it will be is read from the frame that was sent, if it can be. */
  readonly acknowledge:
    | { readonly path: string; readonly expected: (data: Uint8Array) => SignalDatum | undefined }
    | undefined;
}

/**
 * @param leaves all leaves, to find what acknowledges
 * @throws KerbError BadSignalMapping
 */
export function canTarget(
  leaf: VssLeaf,
  mapping: VssTarget,
  leaves: readonly VssLeaf[],
  message: TargetMessage,
): CanTarget {
  const { codec } = message;
  const checksum = mapping.checksum && ownSignal(leaf, codec, mapping.checksum.signal, 'checksum');
  const counter = mapping.counter === undefined ? undefined : ownSignal(leaf, codec, mapping.counter, 'counter');
  const signal = codec.signal(mapping.signal);
  return {
    ...{ mapping, message, signal, counter, checksum: mapping.checksum },
    fault: targetFault(message, signal, counter, checksum),
    id: frameId(leaf, mapping, codec.message),
    acknowledge: acknowledgement(leaf, mapping, leaves, codec),
  };
}

/** A signal of the message for the OBU to fill in. @throws KerbError BadSignalMapping */
function ownSignal(leaf: VssLeaf, codec: MessageCodec, name: string, what: string): MessageSignal {
  const found = codec.variants(name)[0];
  if (found === undefined) throw badLeaf(leaf, `${what}: message ${codec.message.name} has no signal ${name}`);
  const { signed, float, length, mux } = found.signal;
  if (signed || float !== 'none' || length > 32 || mux !== undefined) {
    throw badLeaf(leaf, `${what}: ${name} has to be unsigned, of at most 32 bits, and in every frame`);
  }
  return found;
}

/** @throws KerbError BadSignalMapping */
function acknowledgement(
  leaf: VssLeaf,
  { acknowledge, signal }: VssTarget,
  leaves: readonly VssLeaf[],
  codec: MessageCodec,
): CanTarget['acknowledge'] {
  const path = acknowledge ?? leaf.path;
  const feeding = leaves.filter((one) => one.path === path && one.feed !== undefined);
  if (feeding.length === 0) {
    if (acknowledge === undefined) return undefined;
    throw badLeaf(leaf, `acknowledge: no mapping has dbc2vss for ${path}`);
  }
  // Rounding on the way there and back: what our own frame says, read as the mapping reads it, is as good.
  const same = feeding.find(({ feed }) => feed!.signal === signal)?.feed;
  const expected = (data: Uint8Array) => {
    const sent = codec.variants(signal).find((one) => one.isPresent(data));
    return sent && same?.convert(sent.physicalOf(data), sent.signal.labels.get(sent.rawOf(data)));
  };
  return { path, expected };
}

/** The message that the mapping means. @throws KerbError BadSignalMapping */
export function placeOf(leaf: VssLeaf, { signal, message }: VssTarget, feed: CanFeed): PlacedMessage {
  const places = feed
    .placesOf(leaf, signal)
    .filter((place) => message === undefined || place.message.name === message || place.message.shortName === message);
  if (places.length === 1) return places[0]!;
  if (places.length === 0) throw badLeaf(leaf, `vss2dbc: no message ${message} has a signal ${signal}`);
  const names = places.map((place) => `${place.message.name} on ${place.feed.router.bus.name}`).join(', ');
  throw badLeaf(leaf, `vss2dbc: ${signal} is in ${names}; say which one with message`);
}

/** The id of the message, with the J1939 addresses that the mapping gives instead of its own. */
function frameId(leaf: VssLeaf, { sourceAddress, destinationAddress }: VssTarget, message: DbcMessage): number {
  if (sourceAddress === undefined && destinationAddress === undefined) return message.id;
  if (message.j1939) return withAddresses(message.id, sourceAddress, destinationAddress);
  throw badLeaf(leaf, `vss2dbc: addresses are for messages of J1939, and ${message.name} is not one`);
}

/** What the mapping makes of a value: of none for a list, which no CAN signal is. */
export function convert({ mapping }: CanTarget, value: LeafValue): SignalDatum | undefined {
  return isListValue(value) ? undefined : mapping.convert(value);
}

/** Why no frame of this message can carry the signal, if none can. */
function targetFault(
  { codec }: TargetMessage,
  signal: MessageSignal,
  counter: MessageSignal | undefined,
  checksum: MessageSignal | undefined,
): string | undefined {
  const { name, length } = codec.message;
  if (signal.minLength > length) return `message ${name} has ${length} bytes, and it ends in byte ${signal.minLength}`;
  if (signal.signal.factor === 0) return 'its factor in the database is 0';
  return overlapFault(signal, counter, checksum);
}

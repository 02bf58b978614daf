/**
 * Sets actuators: through a frame that the OBU sends, where the mapping says how, else through the provider that serves
 * the path. Whoever asked hears when the vehicle reports the value, or that it did not in time.
 */

import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { isFrameLength } from '../../shared/can/frame.ts';
import type { FrameChecksum } from '../../shared/dbc/checksum.ts';
import type { DbcMessage } from '../../shared/dbc/dbc.ts';
import { withAddresses } from '../../shared/dbc/j1939.ts';
import { type MessageCodec, type MessageSignal, toRawDatum } from '../../shared/dbc/message-codec.ts';
import type {
  ActuationHandler,
  ActuationTarget,
  BatchHandler,
  LeafValue,
  SignalDatum,
  SignalValue,
} from '../../shared/vss/signal.ts';
import { isListValue, valueFault } from '../../shared/vss/signal-list.ts';
import { badLeaf } from '../../shared/vss/vss-file.ts';
import type { VssLeaf, VssTarget } from '../../shared/vss/vss-mapping.ts';
import type { CanFeed, PlacedMessage } from './can-feed.ts';
import type { SignalTree } from './signal-tree.ts';
import { overlap, overlapFault, TargetMessage } from './target-message.ts';

/** How long a provider may take to accept an actuation, in milliseconds. */
const PROVIDER_MS = 2000;
/** Longest that anybody may wait, in milliseconds. */
const MAX_WAIT_MS = 60_000;

/** How one path is set on CAN. */
interface CanTarget {
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

/** Who serves a path. */
interface Served {
  readonly handler: ActuationHandler;
  readonly together: BatchHandler;
}

export class Actuators {
  readonly #tree: SignalTree;
  readonly #targets = new Map<string, CanTarget>();
  readonly #messages = new Map<PlacedMessage['message'], TargetMessage>();
  readonly #served = new Map<string, Served>();

  constructor(tree: SignalTree) {
    this.#tree = tree;
  }

  /**
   * Makes a path settable on CAN.
   * @param leaves all leaves, to find what acknowledges
   * @param defaults physical values by DBC signal
   * @param warn called with what is wrong and keeps only this path from working
   * @throws KerbError BadSignalMapping
   */
  map(
    leaf: VssLeaf,
    mapping: VssTarget,
    leaves: readonly VssLeaf[],
    feed: CanFeed,
    defaults: ReadonlyMap<string, SignalDatum>,
    warn: (what: string) => void,
  ): void {
    const place = placeOf(leaf, mapping, feed);
    const { message: dbcMessage } = place;
    if (!isFrameLength(dbcMessage.length, dbcMessage.fd)) {
      const why = dbcMessage.j1939 ? 'takes several frames, which the OBU only receives' : 'fits no frame';
      throw badLeaf(leaf, `message ${dbcMessage.name} of ${dbcMessage.length} bytes ${why}`);
    }
    let message = this.#messages.get(dbcMessage);
    if (message === undefined) {
      const codec = feed.listen(leaf, place, (data) => message!.record(data));
      message = new TargetMessage(codec, place.feed.router.bus, defaults);
      this.#messages.set(dbcMessage, message);
    }
    const { codec } = message;
    /** A signal of the message for the OBU to fill in. */
    const own = (name: string, what: string) => {
      const found = codec.variants(name)[0];
      if (found === undefined) throw badLeaf(leaf, `${what}: message ${dbcMessage.name} has no signal ${name}`);
      const { signed, float, length, mux } = found.signal;
      if (signed || float !== 'none' || length > 32 || mux !== undefined) {
        throw badLeaf(leaf, `${what}: ${name} has to be unsigned, of at most 32 bits, and in every frame`);
      }
      return found;
    };
    const check = mapping.checksum === undefined ? undefined : own(mapping.checksum.signal, 'checksum');
    const counter = mapping.counter === undefined ? undefined : own(mapping.counter, 'counter');
    const signal = codec.signal(mapping.signal);
    const fault = targetFault(message, signal, counter, check);
    if (fault !== undefined) warn(`${leaf.file}: ${leaf.path}: ${signal.signal.name} cannot be set: ${fault}`);
    this.#targets.set(leaf.path, {
      ...{ mapping, message, signal, counter, checksum: mapping.checksum, fault },
      id: frameId(leaf, mapping, dbcMessage),
      acknowledge: this.#acknowledgement(leaf, mapping, leaves, codec),
    });
  }

  /** @throws KerbError UnknownSignal | NotAnActuator | AlreadyProvided */
  serve(paths: readonly string[], handler: ActuationHandler, together?: BatchHandler): () => void {
    for (const path of paths) {
      this.#mustBeActuator(path);
      if (!this.#targets.has(path) && !this.#served.has(path)) continue;
      const by = this.#targets.has(path) ? 'a CAN message sets it' : 'another provider serves it';
      throw new KerbError(ErrorCode.AlreadyProvided, `actuator ${path} has a provider already: ${by}`, { path });
    }
    const oneByOne: BatchHandler = async (targets) => {
      for (const { path, value } of targets) await handler(path, value);
    };
    const served = { handler, together: together ?? oneByOne };
    for (const path of paths) this.#served.set(path, served);
    return () => {
      for (const path of paths) if (this.#served.get(path) === served) this.#served.delete(path);
    };
  }

  /** @throws KerbError UnknownSignal | NotAnActuator | BadSignalValue | NoActuationProvider | SignalOverlap */
  check(path: string, value: LeafValue): void {
    const info = this.#mustBeActuator(path);
    const fault = valueFault(info, value);
    if (fault !== undefined) throw new KerbError(ErrorCode.BadSignalValue, `${path} ${fault}`, { path });
    const target = this.#targets.get(path);
    if (target === undefined && !this.#served.has(path)) {
      const message = `nothing sets ${path} now: no mapping has vss2dbc for it, and no workload serves it`;
      throw new KerbError(ErrorCode.NoActuationProvider, message, { path });
    }
    if (target?.fault !== undefined) throw overlap(target.signal, target.fault);
    if (target !== undefined && convert(target, value) === undefined) {
      throw new KerbError(ErrorCode.BadSignalValue, `${path} cannot be ${value}: its mapping has no CAN value for it`, {
        path,
      });
    }
  }

  /** As VehicleSignals.actuate. */
  async actuate(path: string, value: LeafValue, timeoutMs = 0): Promise<SignalValue | undefined> {
    this.check(path, value);
    const target = this.#targets.get(path);
    if (target === undefined) {
      const { handler } = this.#served.get(path)!;
      await inTime(path, () => handler(path, value), timeoutMs);
      return this.#tree.get(path);
    }
    const [acknowledged] = await this.#inTurn(target.message, [{ path, value }], timeoutMs);
    return acknowledged;
  }

  /** As VehicleSignals.actuateAll. */
  async actuateAll(targets: readonly ActuationTarget[], timeoutMs = 0): Promise<void> {
    const groups = new Map<TargetMessage | Served, ActuationTarget[]>();
    for (const one of targets) {
      this.check(one.path, one.value);
      const target = this.#targets.get(one.path);
      // What fits no frame is found before any is sent.
      if (target !== undefined) toRawDatum(target.signal, convert(target, one.value)!);
      const key = target?.message ?? this.#served.get(one.path)!;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [one]);
      else group.push(one);
    }
    const results = await Promise.allSettled(
      [...groups].map(([key, group]) =>
        key instanceof TargetMessage
          ? this.#inTurn(key, group, timeoutMs)
          : inTime(group[0]!.path, () => key.together(group), timeoutMs),
      ),
    );
    const failed = results.find((one) => one.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  /** Sends the frames of one message, one after the other, when it is their turn, and waits for what acknowledges them. */
  #inTurn(
    message: TargetMessage,
    targets: readonly ActuationTarget[],
    timeoutMs: number,
  ): Promise<(SignalValue | undefined)[]> {
    const longest = Math.max(...targets.map(({ path }) => this.#targets.get(path)!.mapping.timeoutMs));
    const waitMs = Math.min(timeoutMs || longest, MAX_WAIT_MS);
    const endMs = this.#tree.now() + waitMs;
    return message.inTurn(() => {
      const leftMs = endMs - this.#tree.now();
      if (leftMs <= 0) {
        const { path } = targets[0]!;
        const message = `${path} was not set within ${waitMs} ms: other actuations of its message took as long`;
        throw new KerbError(ErrorCode.ActuationTimedOut, message, { path });
      }
      return Promise.all(
        targets.map(({ path, value }) => this.#send(path, this.#targets.get(path)!, value, leftMs, waitMs)),
      );
    });
  }

  async #send(
    path: string,
    target: CanTarget,
    value: LeafValue,
    leftMs: number,
    waitMs: number,
  ): Promise<SignalValue | undefined> {
    const { message, counter, checksum, id, acknowledge } = target;
    const signal = message.variantOf(target.signal);
    const physical = convert(target, value)!;
    if (acknowledge === undefined) {
      message.send(signal, physical, counter, checksum, id);
      return undefined;
    }
    const { watchers } = this.#tree.leaf(acknowledge.path);
    const { promise, resolve, reject } = Promise.withResolvers<SignalValue>();
    let expected: SignalDatum | undefined;
    const watch = ([now]: readonly SignalValue[]) => {
      if (isSame(now!.value, value) || (expected !== undefined && isSame(now!.value, expected))) resolve(now!);
    };
    const timer = setTimeout(() => {
      const now = this.#tree.get(acknowledge.path);
      const is = now === undefined ? 'has no value' : `is ${now.value}${now.stale ? ' (stale)' : ''}`;
      const what = `${path} was set to ${value}, and the vehicle did not acknowledge it within ${waitMs} ms`;
      reject(new KerbError(ErrorCode.ActuationTimedOut, `${what}: ${acknowledge.path} ${is}`, { path }));
    }, leftMs);
    try {
      expected = acknowledge.expected(message.send(signal, physical, counter, checksum, id));
      watchers.add(watch);
      return await promise;
    } finally {
      clearTimeout(timer);
      watchers.delete(watch);
    }
  }

  #mustBeActuator(path: string) {
    const { info } = this.#tree.leaf(path);
    if (info.type === 'actuator') return info;
    throw new KerbError(ErrorCode.NotAnActuator, `${path} is of type ${info.type}: only actuators can be set`, {
      path,
    });
  }

  #acknowledgement(
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
}

/** Waits for a provider. @throws KerbError ActuationTimedOut, and what the provider says */
async function inTime(path: string, set: () => Promise<void>, timeoutMs: number): Promise<void> {
  const waitMs = Math.min(timeoutMs || PROVIDER_MS, MAX_WAIT_MS);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const message = `${path}: its provider did not answer within ${waitMs} ms`;
    timer = setTimeout(() => reject(new KerbError(ErrorCode.ActuationTimedOut, message, { path })), waitMs);
  });
  try {
    await Promise.race([set(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function placeOf(leaf: VssLeaf, { signal, message }: VssTarget, feed: CanFeed): PlacedMessage {
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
  throw badLeaf(leaf, `vss2dbc: addresses are for J1939 messages, and ${message.name} is not one`);
}

/** What the mapping makes of a value: of none for a list, which no CAN signal is. */
function convert({ mapping }: CanTarget, value: LeafValue): SignalDatum | undefined {
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

/** Equal: integers exactly, other numbers as far as a float is exact. */
function isSame(a: LeafValue, b: LeafValue): boolean {
  if (typeof a !== 'number' || typeof b !== 'number' || (Number.isInteger(a) && Number.isInteger(b))) return a === b;
  return Math.abs(a - b) <= 1e-6 * Math.max(1, Math.abs(a), Math.abs(b));
}

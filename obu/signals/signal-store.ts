/**
 * The vehicle's signals: frames in, VSS values out. Only paths that the mapping names exist.
 *
 * Hot path, one call of `#receive` per frame of a mapped message: a signal is decoded only when its interval has passed;
 * one array and one value per path are allocated, and shared by all subscribers that want them all.
 */
import { CAN_EFF_FLAG, type CanFrame, formatCanId, linuxIdOf } from '../../shared/can/frame.ts';
import { ErrorCode, KerbError } from '../../shared/errors.ts';
import type { CanRouter } from '../can/router.ts';
import type { Dbc, DbcMessage } from './dbc.ts';
import { compileMessage, type MessageCodec, type MessageSignal } from './message-codec.ts';
import type { SignalDatum, SignalSource, SignalValue } from './signal.ts';
import type { VssMapping } from './vss-mapping.ts';

export interface SignalFeed {
  /** Started and stopped by its owner. */
  readonly router: CanRouter;
  /** The databases of what is on this bus. */
  readonly dbcs: readonly Dbc[];
}

/** One mapped path in one message. */
interface Leaf {
  readonly mapping: VssMapping;
  readonly codec: MessageSignal;
  readonly conditions: readonly { readonly codec: MessageSignal; readonly value: number }[];
  /** Shared by all messages that carry the path. */
  readonly taken: { timeUs: number; last: SignalDatum | undefined };
}

interface Subscription {
  readonly leaves: ReadonlySet<string>;
  readonly listener: (values: readonly SignalValue[]) => void;
  active: boolean;
}

interface MappedMessage {
  readonly message: DbcMessage;
  readonly leaves: Leaf[];
  /** Who wants any of them; replaced, never changed. */
  takers: readonly { readonly subscription: Subscription; readonly wantsAll: boolean }[];
}

export class SignalStore implements SignalSource {
  readonly #feeds: readonly SignalFeed[];
  readonly #mappings: readonly VssMapping[];
  /** By bus, then by id as Linux writes it. */
  readonly #messages = new Map<SignalFeed, Map<number, MappedMessage>>();
  readonly #values = new Map<string, SignalValue>();
  #paths: readonly string[] = [];
  #subscriptions: readonly Subscription[] = [];
  #detach: (() => void)[] = [];
  #ignored = 0;

  /** @param mappings each path once */
  constructor(feeds: readonly SignalFeed[], mappings: readonly VssMapping[]) {
    this.#feeds = feeds;
    this.#mappings = mappings;
    this.#paths = mappings.map((mapping) => mapping.path).sort();
  }

  /** Paths that have had a value. */
  get withValue(): number {
    return this.#values.size;
  }

  /** CAN values so far that have no meaning in VSS: not in a mapping, or beyond the datatype. */
  get ignored(): number {
    return this.#ignored;
  }

  /**
   * Compiles what the mapping needs and listens to the buses.
   * @throws KerbError BadSignalMapping when a signal is in no database
   */
  start(): void {
    if (this.#detach.length > 0) return;
    this.#compile();
    this.#route();
    for (const [feed, messages] of this.#messages) {
      const filters = [...messages.values()].map(({ message }) => exactFilter(message));
      const source = feed.router.bus.name;
      this.#detach.push(
        feed.router.subscribe(undefined, filters, (frame) => {
          const mapped = messages.get(linuxIdOf(frame));
          if (mapped !== undefined) this.#receive(mapped, frame, source);
        }),
      );
    }
  }

  /** Stops listening; the last values stay readable. */
  stop(): void {
    for (const detach of this.#detach) detach();
    this.#detach = [];
    this.#messages.clear();
  }

  paths(): readonly string[] {
    return this.#paths;
  }

  get(path: string): SignalValue | undefined {
    return this.#values.get(path);
  }

  subscribe(leaves: ReadonlySet<string>, listener: (values: readonly SignalValue[]) => void): () => void {
    const subscription: Subscription = { leaves: new Set(leaves), listener, active: true };
    this.#subscriptions = [...this.#subscriptions, subscription];
    this.#route();
    const known = [...subscription.leaves].map((path) => this.#values.get(path)).filter((value) => value !== undefined);
    if (known.length > 0) listener(known);
    return () => {
      subscription.active = false;
      this.#subscriptions = this.#subscriptions.filter((other) => other !== subscription);
      this.#route();
    };
  }

  #compile(): void {
    this.#messages.clear();
    const codecs = new Map<DbcMessage, MessageCodec>();
    const owners = new Map<string, { feed: SignalFeed; message: DbcMessage }[]>();
    for (const feed of this.#feeds) {
      this.#messages.set(feed, new Map());
      for (const dbc of feed.dbcs) {
        for (const message of dbc.messages) {
          for (const { name } of message.signals) {
            const list = owners.get(name);
            if (list === undefined) owners.set(name, [{ feed, message }]);
            else list.push({ feed, message });
          }
        }
      }
    }
    for (const mapping of this.#mappings) {
      const taken = { timeUs: Number.NEGATIVE_INFINITY, last: undefined };
      for (const { feed, message } of this.#ownersOf(mapping, owners.get(mapping.signal) ?? [])) {
        let codec = codecs.get(message);
        if (codec === undefined) {
          codec = compileMessage(message);
          codecs.set(message, codec);
        }
        const key = linuxIdOfMessage(message);
        const mapped = this.#messages.get(feed)!.get(key) ?? { message, leaves: [], takers: [] };
        if (mapped.message !== message) {
          throw this.#bad(mapping, `its message ${message.name} has the id of ${mapped.message.name} on the same bus`);
        }
        this.#messages.get(feed)!.set(key, mapped);
        const conditions = mapping.multiplexer.map(({ signal, value }) => ({ codec: codec.signal(signal), value }));
        mapped.leaves.push({ mapping, codec: codec.signal(mapping.signal), conditions, taken });
      }
    }
  }

  /**
   * Where the signal comes from. Real databases repeat a signal in several messages (variants of one ECU), of which a
   * car sends one; so each of them feeds the path, as with Kuksa.
   */
  #ownersOf<T extends { message: DbcMessage }>(mapping: VssMapping, owners: readonly T[]): readonly T[] {
    const files = this.#feeds.flatMap((feed) => feed.dbcs.map((dbc) => dbc.file)).join(', ') || 'any DBC file';
    if (owners.length === 0) throw this.#bad(mapping, `no message of ${files} has a signal ${mapping.signal}`);
    const complete = owners.filter(({ message }) =>
      mapping.multiplexer.every(({ signal }) => message.signals.some(({ name }) => name === signal)),
    );
    if (complete.length > 0) return complete;
    const wanted = mapping.multiplexer.map(({ signal }) => signal).join(' and ');
    throw this.#bad(mapping, `no message of ${files} has ${mapping.signal} together with multiplexer ${wanted}`);
  }

  /** Works out anew who wants what of each message. */
  #route(): void {
    for (const messages of this.#messages.values()) {
      for (const mapped of messages.values()) {
        mapped.takers = this.#subscriptions
          .map((subscription) => {
            const wanted = mapped.leaves.filter(({ mapping }) => subscription.leaves.has(mapping.path)).length;
            return { subscription, wanted };
          })
          .filter(({ wanted }) => wanted > 0)
          .map(({ subscription, wanted }) => ({ subscription, wantsAll: wanted === mapped.leaves.length }));
      }
    }
  }

  #receive(mapped: MappedMessage, frame: CanFrame, source: string): void {
    const timeUs = frame.timeUs > 0 ? frame.timeUs : Date.now() * 1000;
    const values: SignalValue[] = [];
    for (const leaf of mapped.leaves) {
      const value = this.#take(leaf, frame.data, timeUs, source);
      if (value !== undefined) values.push(value);
    }
    if (values.length === 0) return;
    for (const { subscription, wantsAll } of mapped.takers) {
      if (!subscription.active) continue;
      const wanted = wantsAll ? values : values.filter(({ path }) => subscription.leaves.has(path));
      if (wanted.length > 0) subscription.listener(wanted);
    }
  }

  #take(leaf: Leaf, data: Uint8Array, timeUs: number, source: string): SignalValue | undefined {
    const { mapping, codec, taken } = leaf;
    if (!codec.isPresent(data)) return undefined;
    for (const { codec: other, value } of leaf.conditions) {
      if (!other.isPresent(data) || other.rawOf(data) !== value) return undefined;
    }
    const elapsedUs = timeUs - taken.timeUs;
    // A clock that was set back must not silence a signal until it has caught up.
    if (elapsedUs >= 0 && elapsedUs < mapping.intervalMs * 1000) return undefined;
    const physical = codec.physicalOf(data);
    const { labels } = codec.signal;
    const datum = mapping.convert(physical, labels.size === 0 ? undefined : labels.get(codec.rawOf(data)));
    if (datum === undefined) {
      this.#ignored++;
      return undefined;
    }
    taken.timeUs = timeUs;
    if (mapping.onChange && datum === taken.last) return undefined;
    taken.last = datum;
    const value: SignalValue = { path: mapping.path, value: datum, timeUs, source };
    this.#values.set(mapping.path, value);
    return value;
  }

  #bad(mapping: VssMapping, what: string): KerbError {
    return new KerbError(ErrorCode.BadSignalMapping, `${mapping.path}: ${what}`, { path: mapping.path });
  }
}

function linuxIdOfMessage(message: DbcMessage): number {
  return (message.id | (message.ext ? CAN_EFF_FLAG : 0)) >>> 0;
}

/** Data frames of this message and nothing else. */
function exactFilter(message: DbcMessage): string {
  return message.ext
    ? `${((message.id | CAN_EFF_FLAG) >>> 0).toString(16).padStart(8, '0')}:DFFFFFFF`
    : `${formatCanId(message.id, false)}:C00007FF`;
}

/**
 * Frames in, values of VSS paths out.
 *
 * Hot path, one call of `#receive` per frame of a mapped message: a signal is decoded only when its interval has passed
 * or an actuation waits for it; one array is allocated per frame that says anything.
 */
import { IdFilter } from '../../shared/can/filter.ts';
import { CAN_EFF_FLAG, type CanFrame, linuxIdOf } from '../../shared/can/frame.ts';
import type { Dbc, DbcMessage } from '../../shared/dbc/dbc.ts';
import { PgnTable, pgnFilter } from '../../shared/dbc/j1939.ts';
import { J1939Transport, TRANSPORT_PGNS } from '../../shared/dbc/j1939-transport.ts';
import { compileMessage, type MessageCodec } from '../../shared/dbc/message-codec.ts';
import type { SignalValue } from '../../shared/vss/signal.ts';
import { badLeaf } from '../../shared/vss/vss-file.ts';
import type { VssFeed, VssLeaf } from '../../shared/vss/vss-mapping.ts';
import type { CanRouter } from '../can/router.ts';
import { type MappedSignal, mappedSignal } from './mapped-signal.ts';
import { whyNoValue } from './signal-losses.ts';
import type { Group } from './signal-slot.ts';
import type { SignalTree } from './signal-tree.ts';

/** How long a value is good for: this many of its intervals, and never less than a second. */
const TTL_INTERVALS = 5;
const MIN_TTL_MS = 1000;
/** The interval of a value of which neither mapping nor database knows one: Kuksa's default. */
const UNKNOWN_INTERVAL_MS = 1000;
/** Sources of a path of which it is said why they give no value. */
const MAX_WHYS = 3;

export interface SignalFeed {
  /** Started and stopped by its owner. */
  readonly router: CanRouter;
  /** The databases of what is on this bus. */
  readonly dbcs: readonly Dbc[];
}

/** A message of a database, on its bus. */
export interface PlacedMessage {
  readonly feed: SignalFeed;
  readonly message: DbcMessage;
}

interface HeardMessage {
  readonly codec: MessageCodec;
  readonly signals: MappedSignal[];
  readonly listeners: ((data: Uint8Array) => void)[];
  group: Group | undefined;
  frames: number;
}

/** The messages of one bus that are listened to. */
interface HeardBus {
  /** By id as Linux writes it. */
  readonly byId: Map<number, HeardMessage>;
  readonly byPgn: PgnTable<HeardMessage>;
}

export class CanFeed {
  readonly #feeds: readonly SignalFeed[];
  readonly #tree: SignalTree;
  readonly #heard = new Map<SignalFeed, HeardBus>();
  readonly #placesOfSignal = new Map<string, PlacedMessage[]>();
  readonly #mapped = new Map<string, { mapped: MappedSignal; heard: HeardMessage; place: PlacedMessage }[]>();
  #detach: (() => void)[] = [];
  #ignored = 0;
  #invalid = 0;

  constructor(feeds: readonly SignalFeed[], tree: SignalTree) {
    this.#feeds = feeds;
    this.#tree = tree;
    for (const feed of feeds) {
      this.#heard.set(feed, { byId: new Map(), byPgn: new PgnTable() });
      for (const message of feed.dbcs.flatMap((dbc) => dbc.messages)) {
        const names = new Set(message.signals.flatMap(({ name, shortName }) => [name, shortName]));
        for (const name of names) {
          const places = this.#placesOfSignal.get(name);
          if (places === undefined) this.#placesOfSignal.set(name, [{ feed, message }]);
          else places.push({ feed, message });
        }
      }
    }
  }

  /** CAN values so far that have no meaning in VSS: not in a mapping, or beyond the datatype or its limits. */
  get ignored(): number {
    return this.#ignored;
  }

  /** CAN values so far that their database calls none: outside of their range, or by a name such as SNA. */
  get invalid(): number {
    return this.#invalid;
  }

  /**
   * Feeds a path. Real databases repeat a signal in several messages (variants of one ECU), of which a car sends one;
   * so each of them is a source of the path, in the order of the configuration.
   * @throws KerbError BadSignalMapping when the signal is in no database
   */
  map(leaf: VssLeaf, mapping: VssFeed): void {
    const places = this.placesOf(leaf, mapping.signal);
    const complete = places.filter(({ message }) =>
      mapping.multiplexer.every((one) =>
        message.signals.some(({ name, shortName }) => name === one.signal || shortName === one.signal),
      ),
    );
    if (complete.length === 0) {
      const wanted = mapping.multiplexer.map(({ signal }) => signal).join(' and ');
      throw badLeaf(leaf, `no message of ${this.#files()} has ${mapping.signal} together with multiplexer ${wanted}`);
    }
    for (const place of complete) {
      const heard = this.#hear(leaf, place);
      const slot = this.#tree.addSlot(this.#tree.leaf(leaf.path), {
        source: place.feed.router.bus.name,
        ttlMs: mapping.ttlMs ?? ttlOf(mapping, place.message),
        onChange: mapping.onChange,
        isProvided: false,
      });
      // Groups that exclude each other may have a signal of this name each: together they are one source.
      for (const codec of heard.codec.variants(mapping.signal)) {
        const mapped = mappedSignal(slot, mapping, codec, heard.codec);
        heard.signals.push(mapped);
        this.#mapped.set(leaf.path, [...(this.#mapped.get(leaf.path) ?? []), { mapped, heard, place }]);
      }
    }
  }

  /** Why no source of the path on a bus gives a value now; empty when there is none, or one does. */
  whyNone(path: string): string {
    const all = this.#mapped.get(path) ?? [];
    // A source of which frames come says more than one of which none does.
    const byFrames = all.toSorted((a, b) => Number(b.heard.frames > 0) - Number(a.heard.frames > 0));
    const whys = byFrames.map(({ mapped, heard, place }) =>
      whyNoValue({ ...mapped, message: place.message, bus: place.feed.router.bus.name, frames: heard.frames }),
    );
    return [...new Set(whys)]
      .filter((why) => why !== '')
      .slice(0, MAX_WHYS)
      .join('; ');
  }

  /** Where a signal is. @throws KerbError BadSignalMapping when it is nowhere */
  placesOf(leaf: VssLeaf, signal: string): readonly PlacedMessage[] {
    const places = this.#placesOfSignal.get(signal);
    if (places !== undefined) return places;
    throw badLeaf(leaf, `no message of ${this.#files()} has a signal ${signal}`);
  }

  /** Calls with the data of each frame of a message. @throws KerbError BadSignalMapping */
  listen(leaf: VssLeaf, place: PlacedMessage, listener: (data: Uint8Array) => void): MessageCodec {
    const heard = this.#hear(leaf, place);
    heard.listeners.push(listener);
    return heard.codec;
  }

  start(): void {
    for (const [feed, bus] of this.#heard) {
      const messages = [...bus.byId.values(), ...bus.byPgn.items];
      for (const heard of messages) heard.group = this.#tree.addGroup(heard.signals.map(({ slot }) => slot.leaf));
      if (messages.length === 0) continue;
      const exact = [...bus.byId.values()].map(({ codec }) => exactFilter(codec.message));
      const { pgns } = bus.byPgn;
      const grouped = (pgns.length === 0 ? [] : [...pgns, ...TRANSPORT_PGNS]).map(pgnFilter);
      this.#detach.push(feed.router.subscribe(undefined, [...exact, ...grouped], this.#receiver(bus)));
    }
  }

  /** What is done with each frame of a bus that has a message in it. */
  #receiver({ byId, byPgn }: HeardBus): (frame: CanFrame) => void {
    const transport = new J1939Transport(
      (pgn) => byPgn.has(pgn),
      (id, data, timeUs) => {
        const heard = byPgn.get(id);
        if (heard !== undefined) this.#receive(heard, data, timeUs);
      },
    );
    return (frame) => {
      const heard = byId.get(linuxIdOf(frame)) ?? (frame.ext && !frame.fd ? byPgn.get(frame.id) : undefined);
      if (heard !== undefined) this.#receive(heard, frame.data, frame.timeUs);
      else if (frame.ext && !frame.fd) transport.receive(frame.id, frame.data, frame.timeUs, this.#tree.now());
    };
  }

  stop(): void {
    for (const detach of this.#detach) detach();
    this.#detach = [];
  }

  #hear(leaf: VssLeaf, { feed, message }: PlacedMessage): HeardMessage {
    const { byId, byPgn } = this.#heard.get(feed)!;
    const key = (message.id | (message.ext ? CAN_EFF_FLAG : 0)) >>> 0;
    let heard = message.j1939 ? byPgn.same(message.id) : byId.get(key);
    if (heard === undefined) {
      heard = { codec: compileMessage(message), signals: [], listeners: [], group: undefined, frames: 0 };
      if (message.j1939) byPgn.add(message.id, heard);
      else byId.set(key, heard);
    }
    if (heard.codec.message === message) return heard;
    const other = heard.codec.message.name;
    throw badLeaf(leaf, `its message ${message.name} has the id of ${other} on the same bus`);
  }

  #files(): string {
    return this.#feeds.flatMap((feed) => feed.dbcs.map((dbc) => dbc.file)).join(', ') || 'any DBC file';
  }

  /** @param frameUs microseconds since 1970; 0: unknown */
  #receive(heard: HeardMessage, data: Uint8Array, frameUs: number): void {
    const { signals, listeners, group } = heard;
    heard.frames++;
    for (const listener of listeners) listener(data);
    const timeUs = frameUs > 0 ? frameUs : Date.now() * 1000;
    const nowMs = this.#tree.now();
    let values: SignalValue[] | undefined;
    for (const signal of signals) {
      const value = this.#take(signal, data, timeUs, nowMs);
      if (value === undefined) continue;
      if (values === undefined) values = [value];
      else values.push(value);
    }
    if (values !== undefined) this.#tree.deliver(group!, values);
  }

  #take(mapped: MappedSignal, data: Uint8Array, timeUs: number, nowMs: number): SignalValue | undefined {
    const { mapping, codec, slot, losses } = mapped;
    if (!codec.isPresent(data)) {
      losses.absent++;
      return undefined;
    }
    for (const { codec: other, value } of mapped.conditions) {
      if (!other.isPresent(data) || other.rawOf(data) !== value) {
        losses.unselected++;
        return undefined;
      }
    }
    const elapsedUs = timeUs - slot.takenUs;
    // A clock that was set back must not silence a signal until it has caught up. Who waits for an actuation cannot
    // wait for the interval too.
    if (elapsedUs >= 0 && elapsedUs < mapping.intervalMs * 1000 && slot.leaf.watchers.size === 0) return undefined;
    const physical = codec.physicalOf(data);
    const raw = codec.rawOf(data);
    const named = mapped.names?.get(raw);
    const label = named?.label;
    const isInRange = physical >= mapped.low && physical <= mapped.high && raw < mapped.noneFrom;
    const isNone = named === undefined ? !isInRange : named.isNone;
    if (isNone && !mapping.isNamed(physical, label)) {
      this.#invalid++;
      losses.last = { physical, label, kind: raw >= mapped.noneFrom ? 'unavailable' : 'invalid', atMs: nowMs };
      return undefined;
    }
    const datum = mapping.convert(physical, label);
    if (datum === undefined) {
      this.#ignored++;
      losses.last = { physical, label, kind: 'ignored', atMs: nowMs };
      return undefined;
    }
    slot.takenUs = timeUs;
    return this.#tree.update(slot, datum, timeUs, nowMs);
  }
}

function ttlOf({ intervalMs }: VssFeed, { cycleMs }: DbcMessage): number {
  return Math.max(MIN_TTL_MS, TTL_INTERVALS * (Math.max(intervalMs, cycleMs) || UNKNOWN_INTERVAL_MS));
}

/** Data frames of this message and nothing else. */
function exactFilter({ id, ext }: DbcMessage): IdFilter {
  return ext ? new IdFilter((id | CAN_EFF_FLAG) >>> 0, 0xdfffffff) : new IdFilter(id, 0xc00007ff);
}

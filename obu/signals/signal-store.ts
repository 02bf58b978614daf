/** The vehicle's signals as one thing: the tree, what CAN feeds into it, and the ways back. */

import type { GpsdStatus } from '../../shared/api/status.ts';
import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import type {
  ActuationTarget,
  LeafValue,
  ProvidedValue,
  SignalDatum,
  SignalInfo,
  SignalProvider,
  SignalValue,
  VehicleSignals,
} from '../../shared/vss/signal.ts';
import { valueFault } from '../../shared/vss/signal-list.ts';
import { badLeaf } from '../../shared/vss/vss-file.ts';
import type { VssLeaf } from '../../shared/vss/vss-mapping.ts';
import { Actuators } from './actuators.ts';
import { CanFeed, type SignalFeed } from './can-feed.ts';
import type { GpsdSource } from './gpsd-source.ts';
import type { Slot } from './signal-slot.ts';
import { SignalTree } from './signal-tree.ts';

export type { SignalFeed } from './can-feed.ts';

/** What the reason of a path begins with that nothing in this OBU reports. */
export const NO_SOURCE = 'nothing reports it';

export interface SignalStoreOptions {
  /** How the sources of a path rank, best first, by their names. */
  readonly rankingOf?: (path: string) => readonly string[];
  /** Physical values of DBC signals, for frames that the OBU sends before the bus has said anything. */
  readonly defaults?: ReadonlyMap<string, SignalDatum>;
  /** What is wrong in its files, for `warnings`. */
  readonly warnings?: readonly string[];
  /** Milliseconds of a clock that is never set. */
  readonly now?: () => number;
}

export class SignalStore implements VehicleSignals {
  readonly #feeds: readonly SignalFeed[];
  readonly #leaves: readonly VssLeaf[];
  readonly #options: SignalStoreOptions;
  readonly #tree: SignalTree;
  readonly #providedTtlMs = new Map<string, number>();
  #feed: CanFeed | undefined;
  #warnings: readonly string[] = [];
  /** Of paths whose signal was left out, why they have no value. */
  readonly #lost = new Map<string, string>();
  #actuators: Actuators;
  #position: Pick<GpsdSource, 'status' | 'whyNone'> | undefined;

  /**
   * @param leaves What mapping and VSS files say, in the order of the configuration. A path that is fed more than once
   * has as many sources, in this order.
   */
  constructor(feeds: readonly SignalFeed[], leaves: readonly VssLeaf[], options: SignalStoreOptions = {}) {
    this.#feeds = feeds;
    this.#leaves = leaves;
    this.#options = options;
    this.#tree = new SignalTree(options);
    this.#actuators = new Actuators(this.#tree);
    for (const { info, providedTtlMs, initial } of leaves) {
      const leaf = this.#tree.addLeaf(info);
      // Another file may say another type; that is an error when the store starts.
      if (initial !== undefined && leaf.info.datatype === info.datatype) this.#tree.setDefault(leaf, initial);
      if (providedTtlMs > 0) this.#providedTtlMs.set(info.path, providedTtlMs);
    }
  }

  /** Paths that have had a value. */
  get withValue(): number {
    return this.#tree.count().withValue;
  }

  /** Paths whose value is stale. */
  get stale(): number {
    return this.#tree.count().stale;
  }

  /** CAN values so far that have no meaning in VSS: not in a mapping, or beyond the datatype or its limits. */
  get ignored(): number {
    return this.#feed?.ignored ?? 0;
  }

  /** CAN values so far that their database calls none: outside of their range, or by a name such as SNA. */
  get invalid(): number {
    return this.#feed?.invalid ?? 0;
  }

  /**
   * What is wrong in the files and keeps only what it names from working, `file:line: sentence`. Known once it is
   * started.
   */
  get warnings(): readonly string[] {
    return this.#warnings;
  }

  /** From now on this source of position, heading and speed says how it is, and why a path of its own has no value. */
  joinGpsd(source: Pick<GpsdSource, 'status' | 'whyNone'>): void {
    this.#position = source;
  }

  /** Undefined: none is configured. */
  get gpsd(): GpsdStatus | undefined {
    return this.#position?.status;
  }

  /** Why a path has no value now, or only a stale one, in a sentence; empty when it has a fresh one. */
  whyNone(path: string): string {
    const { value, slots, info } = this.#tree.leaf(path);
    if (value !== undefined && !value.stale) return '';
    const onBus = this.#feed?.whyNone(path) || (this.#lost.get(path) ?? '');
    const why = [onBus, this.#position?.whyNone(path) ?? ''].filter((one) => one !== '').join('; ');
    if (why !== '') return why;
    if (slots.length > 0) return 'the workload that provided it does so no longer';
    const isSet = info.type === 'actuator' ? '; it can be set, which does not give it a value' : '';
    return `${NO_SOURCE}: no mapping reads it from a bus (dbc2vss), and no workload provides it${isSet}`;
  }

  /**
   * Compiles what the mapping needs and listens to the buses.
   * @throws KerbError BadSignalMapping when a signal is in no database, or two files disagree about a path
   */
  start(): void {
    if (this.#feed !== undefined) return;
    const feed = new CanFeed(this.#feeds, this.#tree);
    const actuators = new Actuators(this.#tree);
    const { defaults = new Map(), warnings = [] } = this.#options;
    const found: string[] = [];
    const warn = (what: string) => void found.push(what);
    const lost = new Set(this.#feeds.flatMap(({ dbcs }) => dbcs.flatMap((dbc) => [...dbc.lost])));
    /** A signal that a database has lost costs the paths that need it, and not the start of the OBU. */
    const unlessLost = (path: string, signal: string, map: () => void) => {
      try {
        map();
      } catch (error) {
        if (!isKerbError(error, ErrorCode.BadSignalMapping) || !lost.has(signal)) throw error;
        warn(`${error.message}: it was left out, as its file has a problem`);
        this.#lost.set(path, `no message has a signal ${signal}: it was left out, as its file has a problem`);
      }
    };
    for (const leaf of this.#leaves) {
      const { datatype } = this.#tree.leaf(leaf.path).info;
      if (datatype !== leaf.info.datatype) {
        throw badLeaf(leaf, `it is a ${leaf.info.datatype} here and a ${datatype} in another file`);
      }
      const { feed: source, target } = leaf;
      if (source !== undefined) unlessLost(leaf.path, source.signal, () => feed.map(leaf, source));
      if (target !== undefined) {
        unlessLost(leaf.path, target.signal, () => actuators.map(leaf, target, this.#leaves, feed, defaults, warn));
      }
    }
    feed.start();
    this.#warnings = [...new Set([...warnings, ...found])];
    this.#feed = feed;
    this.#actuators = actuators;
  }

  /** Stops listening; the last values stay readable, as stale ones. */
  stop(): void {
    this.#feed?.stop();
    this.#feed = undefined;
    this.#tree.clear();
  }

  paths(): readonly string[] {
    return this.#tree.paths();
  }

  info(path: string): SignalInfo | undefined {
    return this.#tree.info(path);
  }

  get(path: string): SignalValue | undefined {
    return this.#tree.get(path);
  }

  /** How long ago the value of a path came, in milliseconds; undefined before the first. */
  ageMs(path: string): number | undefined {
    return this.#tree.ageMs(path);
  }

  subscribe(leaves: ReadonlySet<string>, listener: (values: readonly SignalValue[]) => void): () => void {
    return this.#tree.subscribe(leaves, listener);
  }

  checkActuation(path: string, value: LeafValue): void {
    this.#actuators.check(path, value);
  }

  actuate(path: string, value: LeafValue, timeoutMs?: number): Promise<SignalValue | undefined> {
    return this.#actuators.actuate(path, value, timeoutMs);
  }

  actuateAll(targets: readonly ActuationTarget[], timeoutMs?: number): Promise<void> {
    return this.#actuators.actuateAll(targets, timeoutMs);
  }

  openProvider(name: string): SignalProvider {
    const mine = new Map<string, Slot>();
    const ends: (() => void)[] = [];
    return {
      provide: (values) => this.#provide(name, mine, values),
      serve: (paths, handler, together) => {
        const end = this.#actuators.serve(paths, handler, together);
        ends.push(end);
        return end;
      },
      close: () => {
        for (const end of ends.splice(0)) end();
        for (const slot of mine.values()) this.#tree.end(slot);
        mine.clear();
      },
    };
  }

  #provide(source: string, mine: Map<string, Slot>, values: readonly ProvidedValue[]): void {
    for (const { path, value } of values) {
      const fault = valueFault(this.#tree.leaf(path).info, value);
      if (fault !== undefined) throw new KerbError(ErrorCode.BadSignalValue, `${path} ${fault}`, { path });
    }
    const nowUs = Date.now() * 1000;
    const nowMs = this.#tree.now();
    const changed: SignalValue[] = [];
    for (const { path, value, timeUs = 0 } of values) {
      const slot = mine.get(path) ?? this.#slotOf(source, path);
      mine.set(path, slot);
      const at = timeUs > 0 && timeUs <= nowUs ? timeUs : nowUs;
      const updated = this.#tree.update(slot, value, at, nowMs);
      if (updated !== undefined) changed.push(updated);
    }
    if (changed.length > 0) this.#tree.deliverAny(changed);
  }

  /** A provider that comes back goes on with the place that it had. */
  #slotOf(source: string, path: string): Slot {
    const leaf = this.#tree.leaf(path);
    const ttlMs = this.#providedTtlMs.get(path) ?? 0;
    const known = leaf.slots.find((slot) => slot.options.isProvided && slot.options.source === source);
    return known ?? this.#tree.addSlot(leaf, { source, ttlMs, onChange: false, isProvided: true });
  }
}

/**
 * The tree of signals: each path with the sources that feed it, ranked, and those who want to hear of it.
 *
 * The best source that is fresh gives the value of a path. A source that has been silent for its time to live is stale,
 * and the next one takes over; when none is left, the last value stays and is delivered once more as stale.
 *
 * Hot path, one `update` per decoded value and one `deliver` per frame: a value is allocated once and shared by all who
 * get it. Staleness costs a number written per value: one timer looks at all sources when the earliest could be stale.
 */
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import {
  DEFAULT_SOURCE,
  type LeafValue,
  type SignalInfo,
  type SignalSource,
  type SignalValue,
} from '../../shared/vss/signal.ts';
import { sameValue } from '../../shared/vss/signal-list.ts';
import { Group, isBetter, Leaf, type Listener, Slot, type SlotOptions, type Subscription } from './signal-slot.ts';

/** Milliseconds between two looks at most that often, however short a time to live is. */
const MIN_LOOK_MS = 10;

export interface SignalTreeOptions {
  /** How the sources of a path rank, best first; those that it does not name come after them, in order of `addSlot`. */
  readonly rankingOf?: (path: string) => readonly string[];
  /** Milliseconds of a clock that is never set. */
  readonly now?: () => number;
}

export class SignalTree implements SignalSource {
  readonly #rankingOf: (path: string) => readonly string[];
  readonly now: () => number;
  readonly #leaves = new Map<string, Leaf>();
  #paths: readonly string[] | undefined;
  #slots: Slot[] = [];
  readonly #groups = new Set<Group>();
  #subscriptions: readonly Subscription[] = [];
  #look: { readonly timer: NodeJS.Timeout; readonly dueMs: number } | undefined;

  constructor({ rankingOf = () => [], now = () => performance.now() }: SignalTreeOptions = {}) {
    this.#rankingOf = rankingOf;
    this.now = now;
  }

  /** A path that was added before stays as it is. */
  addLeaf(info: SignalInfo): Leaf {
    const known = this.#leaves.get(info.path);
    if (known !== undefined) return known;
    const leaf = new Leaf(info);
    this.#leaves.set(info.path, leaf);
    this.#paths = undefined;
    return leaf;
  }

  /** The value of a leaf until a source has given one. The first one counts. */
  setDefault(leaf: Leaf, value: LeafValue): void {
    leaf.value ??= { path: leaf.info.path, value, timeUs: Date.now() * 1000, source: DEFAULT_SOURCE, stale: false };
  }

  /** @throws KerbError UnknownSignal */
  leaf(path: string): Leaf {
    const leaf = this.#leaves.get(path);
    if (leaf !== undefined) return leaf;
    throw new KerbError(ErrorCode.UnknownSignal, `this OBU has no signal "${path}"`, { path });
  }

  addSlot(leaf: Leaf, options: SlotOptions): Slot {
    const wanted = this.#rankingOf(leaf.info.path).indexOf(options.source);
    const slot = new Slot(leaf, options, wanted < 0 ? Number.MAX_SAFE_INTEGER : wanted);
    this.#slots.push(slot);
    // A stable sort: those of one rank stay in the order in which they came.
    leaf.slots = [...leaf.slots, slot].sort((a, b) => a.rank - b.rank);
    return slot;
  }

  addGroup(leaves: Iterable<Leaf>): Group {
    const group = new Group(leaves);
    this.#groups.add(group);
    this.#routeGroup(group);
    return group;
  }

  /** Forgets the buses: what they gave is stale from now on. Subscriptions and providers stay. */
  clear(): void {
    for (const slot of this.#slots) if (!slot.options.isProvided) this.end(slot);
    for (const leaf of this.#leaves.values()) leaf.slots = leaf.slots.filter(({ options }) => options.isProvided);
    this.#slots = this.#slots.filter(({ options }) => options.isProvided);
    this.#groups.clear();
    if (this.#look !== undefined) clearTimeout(this.#look.timer);
    this.#look = undefined;
    this.#lookForStale();
  }

  paths(): readonly string[] {
    this.#paths ??= [...this.#leaves.keys()].sort();
    return this.#paths;
  }

  get(path: string): SignalValue | undefined {
    return this.#leaves.get(path)?.value;
  }

  /** How long ago the source that gives the value of a path spoke, in milliseconds; undefined before the first value. */
  ageMs(path: string): number | undefined {
    const leaf = this.#leaves.get(path);
    return leaf?.winner === undefined ? undefined : Math.max(0, this.now() - leaf.winner.seenMs);
  }

  info(path: string): SignalInfo | undefined {
    return this.#leaves.get(path)?.info;
  }

  /** How many paths have had a value, and how many of those are stale. */
  count(): { readonly withValue: number; readonly stale: number } {
    let [withValue, stale] = [0, 0];
    for (const { value } of this.#leaves.values()) {
      if (value !== undefined) withValue++;
      if (value?.stale) stale++;
    }
    return { withValue, stale };
  }

  subscribe(leaves: ReadonlySet<string>, listener: Listener): () => void {
    const subscription: Subscription = { leaves: new Set(leaves), listener, active: true };
    this.#subscriptions = [...this.#subscriptions, subscription];
    this.#route();
    const known = [...leaves].map((path) => this.get(path)).filter((value) => value !== undefined);
    if (known.length > 0) listener(known);
    return () => {
      subscription.active = false;
      this.#subscriptions = this.#subscriptions.filter((other) => other !== subscription);
      this.#route();
    };
  }

  /**
   * A source has a value. Returns it when it is to be delivered; its caller collects those of one frame.
   * @param nowMs on the clock of the tree
   */
  update(slot: Slot, datum: LeafValue, timeUs: number, nowMs: number): SignalValue | undefined {
    const { leaf, options } = slot;
    const value: SignalValue = {
      path: leaf.info.path,
      value: datum,
      timeUs,
      source: options.source,
      stale: false,
    };
    slot.value = value;
    slot.seenMs = nowMs;
    if (!slot.fresh) {
      slot.fresh = true;
      if (options.ttlMs > 0) this.#lookAt(nowMs + options.ttlMs);
    }
    if (!options.isProvided && leaf.watchers.size > 0) for (const watcher of leaf.watchers) watcher([value]);
    const { winner, value: before } = leaf;
    if (winner !== slot && winner?.fresh && isBetter(winner, slot)) return undefined;
    leaf.winner = slot;
    leaf.value = value;
    const isSame = before !== undefined && !before.stale && winner === slot && sameValue(before.value, datum);
    return options.onChange && isSame ? undefined : value;
  }

  /** Hands the values of one frame to those who want them. */
  deliver(group: Group, values: readonly SignalValue[]): void {
    for (const { subscription, wantsAll } of group.takers) {
      if (!subscription.active) continue;
      const wanted = wantsAll ? values : values.filter(({ path }) => subscription.leaves.has(path));
      if (wanted.length > 0) subscription.listener(wanted);
    }
  }

  /** The same for values that come together by chance. */
  deliverAny(values: readonly SignalValue[]): void {
    for (const subscription of this.#subscriptions) {
      if (!subscription.active) continue;
      const wanted = values.filter(({ path }) => subscription.leaves.has(path));
      if (wanted.length > 0) subscription.listener(wanted);
    }
  }

  /** A source is gone: what it gave is stale from now on. */
  end(slot: Slot): void {
    const changed = this.#expire(slot);
    if (changed !== undefined) this.deliverAny([changed]);
  }

  /** The value that takes the place of a source that turned stale; undefined when it had no part in the path's value. */
  #expire(slot: Slot): SignalValue | undefined {
    if (!slot.fresh) return undefined;
    slot.fresh = false;
    const { leaf } = slot;
    if (leaf.winner !== slot) return undefined;
    const next = leaf.slots.find((other) => other.fresh);
    if (next !== undefined) leaf.winner = next;
    leaf.value = next?.value ?? { ...leaf.value!, stale: true };
    return leaf.value;
  }

  #lookAt(dueMs: number): void {
    if (this.#look !== undefined && this.#look.dueMs <= dueMs) return;
    if (this.#look !== undefined) clearTimeout(this.#look.timer);
    const timer = setTimeout(() => this.#lookForStale(), Math.max(MIN_LOOK_MS, dueMs - this.now()));
    // It is not this timer that keeps the process up.
    timer.unref();
    this.#look = { timer, dueMs };
  }

  #lookForStale(): void {
    this.#look = undefined;
    const nowMs = this.now();
    const changed: SignalValue[] = [];
    let next = Number.POSITIVE_INFINITY;
    for (const slot of this.#slots) {
      const { ttlMs } = slot.options;
      if (!slot.fresh || ttlMs === 0) continue;
      const dueMs = slot.seenMs + ttlMs;
      if (dueMs > nowMs) {
        next = Math.min(next, dueMs);
        continue;
      }
      const value = this.#expire(slot);
      if (value !== undefined) changed.push(value);
    }
    if (next < Number.POSITIVE_INFINITY) this.#lookAt(next);
    // Of two sources of a path that turned stale together, only the last word counts.
    const last = changed.filter((value) => this.get(value.path) === value);
    if (last.length > 0) this.deliverAny(last);
  }

  /** Works out anew who wants what of each group. */
  #route(): void {
    for (const group of this.#groups) this.#routeGroup(group);
  }

  #routeGroup(group: Group): void {
    group.takers = this.#subscriptions
      .map((subscription) => {
        let wanted = 0;
        for (const { info } of group.leaves) if (subscription.leaves.has(info.path)) wanted++;
        return { subscription, wanted };
      })
      .filter(({ wanted }) => wanted > 0)
      .map(({ subscription, wanted }) => ({ subscription, wantsAll: wanted === group.leaves.size }));
  }
}

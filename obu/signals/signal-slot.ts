/** What the tree of signals consists of: paths, their sources, and the groups whose values come together. */
import type { SignalInfo, SignalValue } from '../../shared/vss/signal.ts';

export type Listener = (values: readonly SignalValue[]) => void;

/** One path. */
export class Leaf {
  readonly info: SignalInfo;
  /** Best first. */
  slots: readonly Slot[] = [];
  winner: Slot | undefined;
  value: SignalValue | undefined;
  /** Called with every value of any bus, whether or not it wins or is delivered. */
  readonly watchers = new Set<Listener>();

  constructor(info: SignalInfo) {
    this.info = info;
  }
}

export interface SlotOptions {
  /** Name of the source. */
  readonly source: string;
  /** Milliseconds; 0: stays fresh until it is ended. */
  readonly ttlMs: number;
  /** Deliver only what differs from the last value. */
  readonly onChange: boolean;
  /** It is no bus, but a workload or the OBU itself. */
  readonly isProvided: boolean;
}

/** One source of one path. */
export class Slot {
  readonly leaf: Leaf;
  readonly options: SlotOptions;
  readonly rank: number;
  value: SignalValue | undefined;
  fresh = false;
  /** When it last gave a value, on the clock of the tree. */
  seenMs = 0;
  /** Time of the last frame of which a value was taken, microseconds since 1970. */
  takenUs = Number.NEGATIVE_INFINITY;

  constructor(leaf: Leaf, options: SlotOptions, rank: number) {
    this.leaf = leaf;
    this.options = options;
    this.rank = rank;
  }
}

export interface Subscription {
  readonly leaves: ReadonlySet<string>;
  readonly listener: Listener;
  active: boolean;
}

/** Leaves whose values come together, and who wants any of them. */
export class Group {
  readonly leaves: ReadonlySet<Leaf>;
  /** Replaced, never changed. */
  takers: readonly { readonly subscription: Subscription; readonly wantsAll: boolean }[] = [];

  constructor(leaves: Iterable<Leaf>) {
    this.leaves = new Set(leaves);
  }
}

/** Of two sources of one path. */
export function isBetter(a: Slot, b: Slot): boolean {
  return a.leaf.slots.indexOf(a) < b.leaf.slots.indexOf(b);
}

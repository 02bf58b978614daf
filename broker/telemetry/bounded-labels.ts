/** Labels of metrics that others choose, bounded in number: each is a time series. */

/** The label of all pairs that have none of their own. */
const OTHER = 'other';
/** Pairs that are told apart to find the busiest ones. */
const MAX_KNOWN = 1024;
/** How much busier one has to be than the least busy that is shown, to take its place. */
const CLEARLY_BUSIER = 2;

/** A pair of labels and what its metrics keep for it. */
export interface LabelSlot<Children> {
  readonly labels: readonly [string, string];
  readonly children: Children;
}

interface Known<Children> {
  readonly labels: readonly [string, string];
  /** Uses lately: halved whenever it is settled who is shown. */
  recent: number;
  /** Undefined: it is counted under `other`. */
  own: LabelSlot<Children> | undefined;
}

/**
 * The busiest pairs of labels, and `other` for the rest. A place that is free goes to whoever comes first; later a clearly
 * busier pair takes the place of the least busy one. What was counted stays where it was counted, so that no counter ever
 * goes down: a series that has lost its place ends, and its pair goes on under `other`.
 *
 * Hot path: `use` is two look-ups.
 */
export class BoundedLabels<Children> {
  readonly #most: number;
  readonly #make: () => Children;
  readonly #onGone: (slot: LabelSlot<Children>) => void;
  readonly #known = new Map<string, Map<string, Known<Children>>>();
  readonly #other: LabelSlot<Children>;
  #knownCount = 0;
  #shown = 0;

  /** `onGone` removes the series of a pair that has lost its place. */
  constructor(most: number, make: () => Children, onGone: (slot: LabelSlot<Children>) => void) {
    this.#most = most;
    this.#make = make;
    this.#onGone = onGone;
    this.#other = { labels: [OTHER, OTHER], children: make() };
  }

  /** The series to count something of this pair in, which has just happened. */
  use(first: string, second: string): LabelSlot<Children> {
    const known = this.#known.get(first)?.get(second) ?? this.#meet(first, second);
    if (known === undefined) return this.#other;
    known.recent++;
    return known.own ?? this.#other;
  }

  /** The labels of a pair, without counting it as busy. */
  labelsOf(first: string, second: string): readonly [string, string] {
    const known = this.#known.get(first)?.get(second) ?? this.#meet(first, second);
    return (known?.own ?? this.#other).labels;
  }

  /** Settles anew who is shown; to be called now and then, such as when the metrics are read. */
  settle(): void {
    const all = [...this.#known.values()].flatMap((some) => [...some.values()]);
    const shown = all.filter(({ own }) => own !== undefined).sort((a, b) => a.recent - b.recent);
    const hidden = all.filter(({ own }) => own === undefined).sort((a, b) => b.recent - a.recent);
    for (const one of hidden) {
      const least = shown[0];
      if (this.#shown >= this.#most) {
        if (least === undefined || one.recent <= CLEARLY_BUSIER * least.recent) break;
        shown.shift();
        this.#onGone(least.own!);
        least.own = undefined;
        this.#shown--;
      }
      this.#show(one);
    }
    for (const one of all) {
      one.recent = Math.floor(one.recent / 2);
      if (one.recent === 0 && one.own === undefined) this.#forget(one);
    }
  }

  #meet(first: string, second: string): Known<Children> | undefined {
    if (this.#knownCount >= MAX_KNOWN) return undefined;
    const some = this.#known.get(first) ?? new Map<string, Known<Children>>();
    this.#known.set(first, some);
    const known: Known<Children> = { labels: [first, second], recent: 0, own: undefined };
    some.set(second, known);
    this.#knownCount++;
    if (this.#shown < this.#most) this.#show(known);
    return known;
  }

  #show(known: Known<Children>): void {
    known.own = { labels: known.labels, children: this.#make() };
    this.#shown++;
  }

  #forget({ labels: [first, second] }: Known<Children>): void {
    const some = this.#known.get(first);
    some?.delete(second);
    if (some?.size === 0) this.#known.delete(first);
    this.#knownCount--;
  }
}

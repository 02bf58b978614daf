/** An item of a heap: it keeps its place in there, so that it is found without a search. */
export interface Placed {
  /** Index in its heap; -1 outside of it. Belongs to the heap. */
  place: number;
}

/** A binary heap out of whose middle things can be taken. */
export class Heap<T extends Placed> {
  readonly items: T[] = [];
  readonly #isBefore: (a: T, b: T) => boolean;

  constructor(isBefore: (a: T, b: T) => boolean) {
    this.#isBefore = isBefore;
  }

  get size(): number {
    return this.items.length;
  }

  get first(): T | undefined {
    return this.items[0];
  }

  push(item: T): void {
    item.place = this.items.length;
    this.items.push(item);
    this.#rise(item);
  }

  pop(): T | undefined {
    const first = this.items[0];
    if (first !== undefined) this.remove(first);
    return first;
  }

  /** It has to be in here. */
  remove(item: T): void {
    const { items } = this;
    const at = item.place;
    const last = items.pop()!;
    item.place = -1;
    if (last === item) return;
    items[at] = last;
    last.place = at;
    this.moved(last);
  }

  /** The key that it is ordered by has changed. */
  moved(item: T): void {
    this.#rise(item);
    this.#sink(item);
  }

  #rise(item: T): void {
    const { items } = this;
    let at = item.place;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = items[above]!;
      if (!this.#isBefore(item, parent)) break;
      items[at] = parent;
      parent.place = at;
      at = above;
    }
    items[at] = item;
    item.place = at;
  }

  #sink(item: T): void {
    const { items } = this;
    let at = item.place;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= items.length) break;
      if (below + 1 < items.length && this.#isBefore(items[below + 1]!, items[below]!)) below++;
      const child = items[below]!;
      if (!this.#isBefore(child, item)) break;
      items[at] = child;
      child.place = at;
      at = below;
    }
    items[at] = item;
    item.place = at;
  }
}

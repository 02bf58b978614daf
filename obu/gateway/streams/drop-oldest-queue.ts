/**
 * A bounded queue that loses its oldest items when it is full, and counts them.
 *
 * Hot path, one `push` per frame and subscriber: a ring over one array that is made once; nothing is allocated per item.
 */
export class DropOldestQueue<T> {
  readonly #ring: (T | undefined)[];
  #head = 0;
  #size = 0;
  #dropped = 0;

  constructor(capacity: number) {
    this.#ring = new Array<T | undefined>(capacity).fill(undefined);
  }

  get size(): number {
    return this.#size;
  }

  get isFull(): boolean {
    return this.#size === this.#ring.length;
  }

  /** The item that would be lost next. */
  get oldest(): T | undefined {
    return this.#ring[this.#head];
  }

  /** Items lost so far. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Returns whether the oldest item had to go. */
  push(item: T): boolean {
    const capacity = this.#ring.length;
    this.#ring[(this.#head + this.#size) % capacity] = item;
    if (this.#size < capacity) {
      this.#size++;
      return false;
    }
    this.#head = (this.#head + 1) % capacity;
    this.#dropped++;
    return true;
  }

  /** The oldest item, taken out. */
  shift(): T | undefined {
    if (this.#size === 0) return undefined;
    const item = this.#ring[this.#head];
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) % this.#ring.length;
    this.#size--;
    return item;
  }
}

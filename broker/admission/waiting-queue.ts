/**
 * The order in which offloads of one package run. Pure.
 *
 * Tenants take turns, and each gives its earliest deadline first: one that floods delays another's offload by one of its
 * own, not by all of them.
 */
export interface Queued {
  readonly tenant: string;
  /** `at`: milliseconds of a monotonic clock. */
  readonly deadline: { readonly at: number };
}

export class WaitingQueue<T extends Queued> {
  /** By tenant; the one whose turn it is comes first. None is empty. */
  readonly #lines = new Map<string, DeadlineHeap<T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(entry: T): void {
    let line = this.#lines.get(entry.tenant);
    if (line === undefined) {
      line = new DeadlineHeap<T>();
      this.#lines.set(entry.tenant, line);
    }
    line.push(entry);
    this.#size++;
  }

  shift(): T | undefined {
    for (const [tenant, line] of this.#lines) {
      const entry = line.pop();
      this.#size--;
      if (line.first === undefined) this.#lines.delete(tenant);
      else if (this.#lines.size > 1) {
        this.#lines.delete(tenant);
        this.#lines.set(tenant, line);
      }
      return entry;
    }
    return undefined;
  }

  /** Takes out all whose deadline is `now` or earlier. Costs nobody a turn. */
  sweep(now: number, spent: (entry: T) => void): void {
    for (const [tenant, line] of this.#lines) {
      for (let entry = line.first; entry !== undefined && entry.deadline.at <= now; entry = line.first) {
        line.pop();
        this.#size--;
        spent(entry);
      }
      if (line.first === undefined) this.#lines.delete(tenant);
    }
  }

  /** Infinity when nothing waits. */
  earliestDeadline(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const line of this.#lines.values()) earliest = Math.min(earliest, line.first?.deadline.at ?? earliest);
    return earliest;
  }
}

/** A binary heap; of two with the same deadline, the one that came first is first. */
export class DeadlineHeap<T extends Queued> {
  readonly #slots: { readonly entry: T; readonly order: number }[] = [];
  #pushed = 0;

  get first(): T | undefined {
    return this.#slots[0]?.entry;
  }

  push(entry: T): void {
    const slots = this.#slots;
    let at = slots.length;
    slots.push({ entry, order: this.#pushed++ });
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  pop(): T | undefined {
    const slots = this.#slots;
    const first = slots[0];
    const last = slots.pop();
    if (first === undefined || last === undefined || slots.length === 0) return first?.entry;
    slots[0] = last;
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      let next = at;
      if (left < slots.length && this.#isBefore(left, next)) next = left;
      if (left + 1 < slots.length && this.#isBefore(left + 1, next)) next = left + 1;
      if (next === at) return first.entry;
      this.#swap(at, next);
      at = next;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [one, other] = [this.#slots[a]!, this.#slots[b]!];
    const difference = one.entry.deadline.at - other.entry.deadline.at;
    return difference === 0 ? one.order < other.order : difference < 0;
  }

  #swap(a: number, b: number): void {
    const kept = this.#slots[a]!;
    this.#slots[a] = this.#slots[b]!;
    this.#slots[b] = kept;
  }
}

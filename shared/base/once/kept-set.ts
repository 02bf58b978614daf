/** Limits of one owner. */
export interface KeptLimits {
  readonly count: number;
  readonly bytes: number;
}

export interface KeptTotals {
  readonly count: number;
  /** Bytes of what is kept in memory, and of what is kept on the disk. */
  readonly memory: number;
  readonly disk: number;
}

/** Something that is kept for a while. */
export interface KeptItem {
  readonly key: string;
  /** Within whose limits it is kept. */
  readonly owner: string;
  readonly bytes: number;
  /** Milliseconds of `performance.now()`. */
  readonly keptAt: number;
  readonly expiresAt: number;
  /** Counts as on the disk, not in memory; changed by `moveToDisk` only. */
  onDisk: boolean;
}

export type Dropped = 'expired' | 'evicted';

export interface KeptSetOptions<Item> {
  readonly limitsOf: (owner: string) => KeptLimits;
  readonly totals: KeptTotals;
  /** Called for what goes by itself, not of what `delete` and `clear` take. */
  readonly onDropped?: (item: Item, why: Dropped) => void;
}

/** The oldest first in both. */
interface Owner<Item> {
  readonly memory: Set<Item>;
  readonly disk: Set<Item>;
  memoryBytes: number;
  diskBytes: number;
}

/** Expired items leave the memory within so many milliseconds. */
const TICK_MS = 1000;

/**
 * Items by key for a limited time, within the limits of their owner and of all together. Where an owner's limits are
 * reached, its oldest items go; where the limits of all are, the oldest of the owner who keeps most. So no owner pushes out
 * what another one keeps within its share.
 *
 * Hot path: no timer per item, and no search but for the owner who keeps most.
 */
export class KeptSet<Item extends KeptItem> {
  readonly #options: KeptSetOptions<Item>;
  readonly #items = new Map<string, Item>();
  readonly #owners = new Map<string, Owner<Item>>();
  /** By the tick at whose end they have expired. */
  readonly #ticks = new Map<number, Set<Item>>();
  #memory = 0;
  #disk = 0;
  #lastTick = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: KeptSetOptions<Item>) {
    this.#options = options;
  }

  get count(): number {
    return this.#items.size;
  }

  get memoryBytes(): number {
    return this.#memory;
  }

  get diskBytes(): number {
    return this.#disk;
  }

  /** How many owners keep something. */
  get owners(): number {
    return this.#owners.size;
  }

  /** How much one owner keeps, in memory and on the disk together. */
  useOf(name: string): { readonly count: number; readonly bytes: number } {
    const owner = this.#owners.get(name);
    if (owner === undefined) return { count: 0, bytes: 0 };
    return { count: owner.memory.size + owner.disk.size, bytes: owner.memoryBytes + owner.diskBytes };
  }

  values(): IterableIterator<Item> {
    return this.#items.values();
  }

  get(key: string, now: number): Item | undefined {
    const item = this.#items.get(key);
    if (item === undefined || item.expiresAt >= now) return item;
    this.#drop(item, 'expired');
    return undefined;
  }

  has(item: Item): boolean {
    return this.#items.get(item.key) === item;
  }

  /** False for an item of a size that can never be kept. */
  fits(owner: string, bytes: number, onDisk: boolean): boolean {
    const limits = this.#options.limitsOf(owner);
    const { totals } = this.#options;
    return (
      limits.count > 0 && totals.count > 0 && bytes <= Math.min(limits.bytes, onDisk ? totals.disk : totals.memory)
    );
  }

  /** Takes the place of another one with its key. @returns false when it does not fit; then nothing has changed */
  add(item: Item, now: number): boolean {
    if (!this.fits(item.owner, item.bytes, item.onDisk)) return false;
    const before = this.#items.get(item.key);
    if (before !== undefined) this.delete(before);
    this.#items.set(item.key, item);
    this.#count(item);
    const tick = Math.ceil(item.expiresAt / TICK_MS);
    let expiring = this.#ticks.get(tick);
    if (expiring === undefined) {
      expiring = new Set();
      this.#ticks.set(tick, expiring);
    }
    expiring.add(item);
    this.#shrinkOwner(item.owner);
    this.#shrinkAll();
    this.#watch(now);
    return true;
  }

  /** It is on the disk from now on. */
  moveToDisk(item: Item): void {
    if (!this.has(item)) return;
    this.#uncount(item);
    item.onDisk = true;
    this.#count(item);
    this.#shrinkAll();
  }

  delete(item: Item): void {
    if (!this.has(item)) return;
    this.#items.delete(item.key);
    this.#uncount(item);
    const tick = Math.ceil(item.expiresAt / TICK_MS);
    const expiring = this.#ticks.get(tick);
    expiring?.delete(item);
    if (expiring?.size === 0) this.#ticks.delete(tick);
  }

  clear(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#items.clear();
    this.#owners.clear();
    this.#ticks.clear();
    this.#memory = 0;
    this.#disk = 0;
  }

  #drop(item: Item, why: Dropped): void {
    this.delete(item);
    this.#options.onDropped?.(item, why);
  }

  #count(item: Item): void {
    let owner = this.#owners.get(item.owner);
    if (owner === undefined) {
      owner = { memory: new Set(), disk: new Set(), memoryBytes: 0, diskBytes: 0 };
      this.#owners.set(item.owner, owner);
    }
    if (item.onDisk) {
      owner.disk.add(item);
      owner.diskBytes += item.bytes;
      this.#disk += item.bytes;
    } else {
      owner.memory.add(item);
      owner.memoryBytes += item.bytes;
      this.#memory += item.bytes;
    }
  }

  #uncount(item: Item): void {
    const owner = this.#owners.get(item.owner)!;
    if (item.onDisk) {
      owner.disk.delete(item);
      owner.diskBytes -= item.bytes;
      this.#disk -= item.bytes;
    } else {
      owner.memory.delete(item);
      owner.memoryBytes -= item.bytes;
      this.#memory -= item.bytes;
    }
    if (owner.memory.size + owner.disk.size === 0) this.#owners.delete(item.owner);
  }

  #shrinkOwner(name: string): void {
    const limits = this.#options.limitsOf(name);
    const owner = this.#owners.get(name)!;
    while (owner.memory.size + owner.disk.size > limits.count || owner.memoryBytes + owner.diskBytes > limits.bytes) {
      const [inMemory] = owner.memory;
      const [onDisk] = owner.disk;
      const memoryFirst = onDisk === undefined || (inMemory !== undefined && inMemory.keptAt <= onDisk.keptAt);
      this.#drop((memoryFirst ? inMemory : onDisk)!, 'evicted');
    }
  }

  #shrinkAll(): void {
    const { count, memory, disk } = this.#options.totals;
    while (this.#memory > memory) this.#dropOldest(({ memoryBytes }) => memoryBytes, 'memory');
    while (this.#disk > disk) this.#dropOldest(({ diskBytes }) => diskBytes, 'disk');
    while (this.#items.size > count) {
      const heaviest = this.#heaviest((owner) => owner.memory.size + owner.disk.size);
      const [item] = heaviest.memory.size > 0 ? heaviest.memory : heaviest.disk;
      this.#drop(item!, 'evicted');
    }
  }

  #dropOldest(weight: (owner: Owner<Item>) => number, place: 'memory' | 'disk'): void {
    const [item] = this.#heaviest(weight)[place];
    this.#drop(item!, 'evicted');
  }

  #heaviest(weight: (owner: Owner<Item>) => number): Owner<Item> {
    let found: Owner<Item> | undefined;
    for (const owner of this.#owners.values()) {
      if (found === undefined || weight(owner) > weight(found)) found = owner;
    }
    return found!;
  }

  #watch(now: number): void {
    if (this.#timer !== undefined) return;
    this.#lastTick = Math.floor(now / TICK_MS) - 1;
    this.#timer = setInterval(() => this.#expire(performance.now()), TICK_MS);
    this.#timer.unref();
  }

  #expire(now: number): void {
    const until = Math.floor(now / TICK_MS);
    for (; this.#lastTick < until; this.#lastTick++) {
      for (const item of this.#ticks.get(this.#lastTick + 1) ?? []) this.#drop(item, 'expired');
    }
    if (this.#items.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

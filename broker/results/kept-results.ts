/** The results that are kept, in memory and on the disk, within what each tenant may have. */
import { KeptSet, type KeptTotals } from '../../shared/base/once/kept-set.ts';
import { RecentKeys } from '../../shared/base/once/recent-keys.ts';
import type { PendingOffload, TaskResult } from '../offloads/offload.ts';
import type { ResultMetrics } from '../telemetry/result-metrics.ts';
import type { ResultLimits } from '../tenants/policy.ts';
import { sha256Of } from './input-hash.ts';
import { type ForwardedResult, type KeptContent, type KeptResult, keptFrom, rowOf } from './kept-result.ts';
import type { ResultStore } from './result-store.ts';
import type { StoredRow } from './stored-result.ts';

export interface KeptResultsOptions {
  /** Asked each time. */
  readonly limitsOf: (tenant: string) => ResultLimits;
  readonly totals: KeptTotals;
  readonly metrics: ResultMetrics;
  /** True while an offload with this key is under way: what is on the disk under it may be its result. */
  readonly isUnderWay: (key: string) => boolean;
}

/** Ids whose results were given out and are not kept any more: a run for one of them is a second one. */
const REMEMBERED_IDS = 20_000;

export class KeptResults {
  readonly #options: KeptResultsOptions;
  readonly #kept: KeptSet<KeptResult>;
  readonly #given = new RecentKeys(REMEMBERED_IDS);
  #store: ResultStore | undefined;

  constructor(options: KeptResultsOptions) {
    this.#options = options;
    const { limitsOf, totals, metrics } = options;
    this.#kept = new KeptSet<KeptResult>({
      limitsOf,
      totals,
      onDropped: (item, why) => {
        metrics.ended(why);
        this.#forgotten(item);
      },
    });
  }

  /** Until then, nothing goes to the disk. */
  useStore(store: ResultStore): void {
    this.#store = store;
  }

  get store(): ResultStore | undefined {
    return this.#store;
  }

  status() {
    const { count, memoryBytes, diskBytes } = this.#kept;
    return { count, memoryBytes, diskBytes, reason: this.#store?.trouble ?? '' };
  }

  useOf(tenant: string): { readonly count: number; readonly bytes: number } {
    return this.#kept.useOf(tenant);
  }

  get(key: string): KeptResult | undefined {
    return this.#kept.get(key, performance.now());
  }

  has(item: KeptResult): boolean {
    return this.#kept.has(item);
  }

  /** True when the result of this key was given out before, and is not kept. */
  wasGiven(key: string): boolean {
    return this.#given.has(key);
  }

  given(key: string): void {
    this.#given.add(key);
  }

  /** Takes over what is on the disk: at the start, and again after what was there has been damaged. */
  load(rows: readonly StoredRow[]): void {
    const now = performance.now();
    const there = new Set(rows.map(({ key }) => key));
    for (const item of [...this.#kept.values()]) {
      if (item.onDisk && !there.has(item.key)) this.lose(item);
    }
    for (const row of rows) {
      if (this.#kept.get(row.key, now) !== undefined) continue;
      if (!this.#kept.add(keptFrom(row, now), now)) this.#store?.remove(row.key);
    }
  }

  /** Keeps a result that a neighbour has sent, for its vehicle, unless there is one. */
  keepForwarded(from: ForwardedResult): void {
    const now = performance.now();
    const item = keptFrom({ ...from, keepMs: Math.min(from.keepMs, this.#options.limitsOf(from.tenant).keepMs) }, now);
    if (item.keepMs <= 0 || this.#kept.get(item.key, now) !== undefined) return;
    const row = rowOf(item, item.content!);
    this.keep(item, false);
    if (!from.durable || !this.#kept.has(item) || !this.#store?.accepts(item.size)) return;
    this.#store.put(row, (isOnDisk) => isOnDisk && this.moveToDisk(item));
  }

  /** Removes the results of this tenant. @returns how many, and whether nothing of them is left in the files */
  async forgetTenant(tenant: string): Promise<{ readonly count: number; readonly isScrubbed: boolean }> {
    const items = [...this.#kept.values()].filter(({ owner }) => owner === tenant);
    for (const item of items) this.lose(item);
    return { count: items.length, isScrubbed: (await this.#store?.scrub()) ?? true };
  }

  keepInMemory(pending: PendingOffload, result: TaskResult, startedAt: number, keepMs: number): void {
    const item = keptFrom({ pending, result, startedAt, keepMs }, performance.now());
    if (!this.#kept.fits(item.owner, item.bytes, false)) {
      this.#notKept(item);
      return;
    }
    this.#kept.add(item, item.keptAt);
    this.#options.metrics.kept('memory');
    if (typeof item.input !== 'string') {
      void sha256Of(item.input).then((digest) => {
        item.input = digest;
      });
    }
  }

  keep(item: KeptResult, onDisk: boolean): void {
    item.onDisk = onDisk;
    if (onDisk) item.content = undefined;
    if (!this.#kept.add(item, item.keptAt)) {
      this.#notKept(item);
      if (onDisk) this.#store?.remove(item.key);
      return;
    }
    this.#options.metrics.kept(onDisk ? 'disk' : 'memory');
  }

  /** @returns whether it is on the disk */
  async write(item: KeptResult, content: KeptContent): Promise<boolean> {
    const store = this.#store;
    if (!this.#kept.fits(item.owner, item.bytes, true) || !store?.accepts(item.size)) return false;
    return await new Promise((resolve) => store.put(rowOf(item, content), resolve));
  }

  /** It is on the disk now. */
  moveToDisk(item: KeptResult): void {
    if (this.#kept.has(item)) {
      item.content = undefined;
      this.#kept.moveToDisk(item);
      return;
    }
    // It has been evicted since.
    this.removeUnlessAnother(item.key);
  }

  /** Removes what is on the disk under this key, unless it may be another one, which comes after it. */
  removeUnlessAnother(key: string): void {
    if (this.get(key) === undefined && !this.#options.isUnderWay(key)) this.#store?.remove(key);
  }

  /** One in memory that takes more of it after the change. */
  grow(item: KeptResult, change: () => void): void {
    this.#kept.delete(item);
    change();
    this.#kept.add(item, performance.now());
  }

  /** It cannot be read any more, or is to be forgotten. */
  lose(item: KeptResult): void {
    if (!this.#kept.has(item)) return;
    this.#kept.delete(item);
    this.#options.metrics.ended('lost');
    this.#forgotten(item);
  }

  /** Forgets them all; the files stay on the disk. */
  clear(): void {
    this.#kept.clear();
  }

  #notKept(item: KeptResult): void {
    this.#options.metrics.ended('not_kept');
    this.#given.add(item.key);
  }

  #forgotten(item: KeptResult): void {
    this.#given.add(item.key);
    if (item.onDisk) this.#store?.remove(item.key);
  }
}

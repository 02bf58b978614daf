import type { RecentError } from './status.ts';

/**
 * The last few errors, for a person to look at. The same one again only gets a new time. When there are too many, the
 * source that has the most loses its oldest, so that one that fails all the time does not hide the others.
 */
export class RecentErrors {
  readonly #limit: number;
  readonly #onAdd: (source: string, code: number, message: string) => void;
  readonly #errors: RecentError[] = [];

  /** `onAdd` is told of each, the same one again too. */
  constructor(limit = 20, onAdd: (source: string, code: number, message: string) => void = () => {}) {
    this.#limit = limit;
    this.#onAdd = onAdd;
  }

  add(source: string, code: number, message: string): void {
    this.#onAdd(source, code, message);
    const time = new Date().toISOString();
    const again = this.#errors.findIndex((e) => e.source === source && e.code === code && e.message === message);
    if (again !== -1) this.#errors.splice(again, 1);
    this.#errors.push({ time, source, code, message });
    if (this.#errors.length > this.#limit) this.#errors.splice(this.#oldestOfLoudest(), 1);
  }

  #oldestOfLoudest(): number {
    const counts = new Map<string, number>();
    for (const { source } of this.#errors) counts.set(source, (counts.get(source) ?? 0) + 1);
    const most = Math.max(...counts.values());
    return this.#errors.findIndex(({ source }) => counts.get(source) === most);
  }

  /** Oldest first. */
  list(): readonly RecentError[] {
    return [...this.#errors];
  }
}

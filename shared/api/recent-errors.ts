import type { RecentError } from './status.ts';

/** The last few errors, for a person to look at. The same one again only gets a new time. */
export class RecentErrors {
  readonly #limit: number;
  readonly #errors: RecentError[] = [];

  constructor(limit = 20) {
    this.#limit = limit;
  }

  add(source: string, code: number, message: string): void {
    const time = new Date().toISOString();
    const again = this.#errors.findIndex((e) => e.source === source && e.code === code && e.message === message);
    if (again !== -1) this.#errors.splice(again, 1);
    this.#errors.push({ time, source, code, message });
    if (this.#errors.length > this.#limit) this.#errors.shift();
  }

  /** Oldest first. */
  list(): readonly RecentError[] {
    return [...this.#errors];
  }
}

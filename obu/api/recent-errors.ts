import type { RecentError } from '../../shared/api/status.ts';
import { isKerbError, messageOf } from '../../shared/errors.ts';

/** The last errors that a person may want to see, the newest last. */
export class RecentErrors {
  readonly #limit: number;
  readonly #errors: RecentError[] = [];

  constructor(limit = 50) {
    this.#limit = limit;
  }

  add(source: string, error: unknown): void {
    this.#errors.push({
      time: new Date().toISOString(),
      source,
      code: isKerbError(error) ? error.code : 0,
      message: messageOf(error),
    });
    if (this.#errors.length > this.#limit) this.#errors.shift();
  }

  list(): readonly RecentError[] {
    return [...this.#errors];
  }
}

/** The clock may be set: the next end of a certificate is looked for at least so often. */
const LOOK_MS = 10_000;

/** Something whose time is over at a moment of the wall clock, in milliseconds since 1970. */
export interface Expiring {
  readonly expiresAt: number;
}

/** Tells when the time of one of many is over: one timer for all. */
export class ExpiryWatch<T extends Expiring> {
  readonly #all: () => Iterable<T>;
  readonly #onExpired: (one: T) => void;
  #timer: NodeJS.Timeout | undefined;
  #at = Number.POSITIVE_INFINITY;
  #isStopped = false;

  constructor(all: () => Iterable<T>, onExpired: (one: T) => void) {
    this.#all = all;
    this.#onExpired = onExpired;
  }

  /** There is one more, or there will be in a moment. */
  add(expiresAt: number): void {
    if (expiresAt >= this.#at || this.#isStopped) return;
    this.#at = expiresAt;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#look, Math.max(1, Math.min(expiresAt - Date.now() + 1, LOOK_MS)));
    this.#timer.unref();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  readonly #look = (): void => {
    const now = Date.now();
    this.#at = Number.POSITIVE_INFINITY;
    let next = Number.POSITIVE_INFINITY;
    for (const one of this.#all()) {
      if (one.expiresAt < now) this.#onExpired(one);
      else next = Math.min(next, one.expiresAt);
    }
    this.add(next);
  };
}

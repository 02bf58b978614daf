const OUT_MS = { first: 1000, max: 30_000 };
const FAILURES = 2;

/**
 * Circuit breaker of one place: two failures in a row, or one silent loss, put it out for 1 s, then for twice as long each
 * time, up to 30 s. When that is over, one offload probes it. Times in milliseconds on one clock of the caller's.
 */
export class PlaceHealth {
  #failures = 0;
  #outMs = 0;
  #outUntil = Number.NEGATIVE_INFINITY;
  #isProbing = false;

  /** Another place is to be taken. */
  isOut(now: number): boolean {
    return now < this.#outUntil || this.#isProbing;
  }

  /** An offload goes there. After a time out, it is the one that probes it. */
  begin(now: number): void {
    if (this.#outMs > 0 && now >= this.#outUntil) this.#isProbing = true;
  }

  /** It has answered: a refusal is an answer, too. */
  succeeded(): void {
    this.#failures = 0;
    this.#outMs = 0;
    this.#outUntil = Number.NEGATIVE_INFINITY;
    this.#isProbing = false;
  }

  /** @param isSilent nothing came back at all: the connection may hang */
  failed(now: number, isSilent: boolean): void {
    this.#failures += 1;
    const wasProbe = this.#isProbing;
    this.#isProbing = false;
    // Offloads that were sent before it was put out say nothing new.
    if (now < this.#outUntil) return;
    if (!isSilent && !wasProbe && this.#failures < FAILURES) return;
    this.#outMs = Math.min(this.#outMs === 0 ? OUT_MS.first : this.#outMs * 2, OUT_MS.max);
    this.#outUntil = now + this.#outMs;
  }

  /** The caller of a probe has given up: nothing was learnt, and the next one probes. */
  abandoned(): void {
    this.#isProbing = false;
  }
}

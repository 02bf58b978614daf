import { hash } from 'node:crypto';

export interface OnceLimits {
  /** Bytes that are kept altogether. */
  readonly maxBytes: number;
  readonly maxCount: number;
  /** Milliseconds after which a result is forgotten. */
  readonly maxAgeMs: number;
}

export interface OnceOptions extends OnceLimits {
  /**
   * How an input is known again once there is a result: `bytes` keeps it, and counts it; `digest` takes its SHA-256, which
   * costs time instead.
   */
  readonly inputs: 'bytes' | 'digest';
}

export type Found<Pending, Result> =
  | { readonly found: 'nothing' }
  /** The same request is under way: join it. */
  | { readonly found: 'pending'; readonly pending: Pending }
  | { readonly found: 'result'; readonly result: Result }
  /** The key belongs to another request. */
  | { readonly found: 'conflict' };

interface UnderWay<Pending> {
  readonly subject: string;
  readonly input: Uint8Array;
  readonly pending: Pending;
}

interface Kept<Result> {
  readonly subject: string;
  readonly input: Uint8Array | string;
  readonly result: Result;
  readonly bytes: number;
  readonly keptAt: number;
}

const NOTHING = { found: 'nothing' } as const;
const CONFLICT = { found: 'conflict' } as const;

/**
 * Requests by the key that their asker chose, so that the same request is carried out once: while it is under way, asking
 * again finds it, and for a while after it succeeded, its result. The same key with another subject or input is a
 * conflict. What has failed is forgotten, so that it can be tried again.
 *
 * Results are bounded in bytes, number and time, the oldest goes first. What is under way is bounded by whoever begins it.
 * Times are milliseconds of `performance.now()`.
 *
 * Hot path: two small objects and no timer per request. A digest is taken in `complete`, when the answer is on its way.
 */
export class Once<Pending, Result> {
  readonly #options: OnceOptions;
  readonly #underWay = new Map<string, UnderWay<Pending>>();
  /** The oldest first. */
  readonly #kept = new Map<string, Kept<Result>>();
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: OnceOptions) {
    this.#options = options;
  }

  /** Requests that are under way. */
  get pending(): number {
    return this.#underWay.size;
  }

  /** Of all that is kept. */
  get bytes(): number {
    return this.#bytes;
  }

  find(key: string, subject: string, input: Uint8Array, now: number = performance.now()): Found<Pending, Result> {
    const underWay = this.#underWay.get(key);
    if (underWay !== undefined) {
      const { pending } = underWay;
      return underWay.subject === subject && sameBytes(underWay.input, input)
        ? { found: 'pending', pending }
        : CONFLICT;
    }
    const kept = this.#kept.get(key);
    if (kept === undefined) return NOTHING;
    if (now - kept.keptAt > this.#options.maxAgeMs) {
      this.#drop(key, kept);
      return NOTHING;
    }
    if (kept.subject !== subject) return CONFLICT;
    const same = typeof kept.input === 'string' ? kept.input === digestOf(input) : sameBytes(kept.input, input);
    return same ? { found: 'result', result: kept.result } : CONFLICT;
  }

  /** Only after `find` has found nothing. The input must not change while it is under way. */
  begin(key: string, subject: string, input: Uint8Array, pending: Pending): void {
    this.#underWay.set(key, { subject, input, pending });
  }

  /** It has succeeded. Nothing happens when it was forgotten meanwhile. @param size bytes of the result */
  complete(key: string, pending: Pending, result: Result, size: number, now: number = performance.now()): void {
    const underWay = this.#underWay.get(key);
    if (underWay === undefined || underWay.pending !== pending) return;
    this.#underWay.delete(key);
    const { maxBytes, maxCount, maxAgeMs, inputs } = this.#options;
    const bytes = size + (inputs === 'bytes' ? underWay.input.length : 0);
    if (bytes > maxBytes) return;
    const input = inputs === 'bytes' ? underWay.input : digestOf(underWay.input);
    this.#kept.set(key, { subject: underWay.subject, input, result, bytes, keptAt: now });
    this.#bytes += bytes;
    for (const [oldest, kept] of this.#kept) {
      const fits = this.#bytes <= maxBytes && this.#kept.size <= maxCount && now - kept.keptAt <= maxAgeMs;
      if (fits) break;
      this.#drop(oldest, kept);
    }
    this.#watchAge();
  }

  /** It has failed. Nothing happens when the key belongs to another one by now. */
  forget(key: string, pending: Pending): void {
    if (this.#underWay.get(key)?.pending === pending) this.#underWay.delete(key);
  }

  /** Forgets everything; what is under way goes on, and its result is not kept. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#underWay.clear();
    this.#kept.clear();
    this.#bytes = 0;
  }

  #drop(key: string, kept: Kept<Result>): void {
    this.#kept.delete(key);
    this.#bytes -= kept.bytes;
  }

  /** One timer for the oldest result. When it rings, that one may be gone already: then it is set for the next. */
  #watchAge(): void {
    if (this.#timer !== undefined) return;
    const [oldest] = this.#kept.values();
    if (oldest === undefined) return;
    const { maxAgeMs } = this.#options;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        const now = performance.now();
        for (const [key, kept] of this.#kept) {
          if (now - kept.keptAt <= maxAgeMs) break;
          this.#drop(key, kept);
        }
        this.#watchAge();
      },
      Math.max(1, Math.ceil(oldest.keptAt + maxAgeMs - performance.now())),
    );
    this.#timer.unref();
  }
}

function digestOf(input: Uint8Array): string {
  return hash('sha256', input, 'base64');
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

import { hash } from 'node:crypto';
import { type KeptItem, KeptSet } from './kept-set.ts';

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

interface Request<Pending> {
  readonly subject: string;
  readonly input: Uint8Array;
  readonly pending: Pending;
}

interface Kept<Result> extends KeptItem {
  readonly subject: string;
  readonly input: Uint8Array | string;
  readonly result: Result;
}

const NOTHING = { found: 'nothing' } as const;
const CONFLICT = { found: 'conflict' } as const;

/**
 * Requests that are under way, by the key that their asker chose, so that the same request is carried out once. The same
 * key with another subject or input is a conflict. What is under way is bounded by whoever begins it.
 */
export class UnderWay<Pending> {
  readonly #requests = new Map<string, Request<Pending>>();

  get size(): number {
    return this.#requests.size;
  }

  has(key: string): boolean {
    return this.#requests.has(key);
  }

  find(key: string, subject: string, input: Uint8Array): Found<Pending, never> {
    const request = this.#requests.get(key);
    if (request === undefined) return NOTHING;
    const same = request.subject === subject && sameBytes(request.input, input);
    return same ? { found: 'pending', pending: request.pending } : CONFLICT;
  }

  /** Whatever has this key. */
  get(key: string): Pending | undefined {
    return this.#requests.get(key)?.pending;
  }

  /** Only after `find` has found nothing. The input must not change while it is under way. */
  begin(key: string, subject: string, input: Uint8Array, pending: Pending): void {
    this.#requests.set(key, { subject, input, pending });
  }

  /** It is under way no longer. Undefined when the key belongs to another one by now, or to none. */
  end(key: string, pending: Pending): Request<Pending> | undefined {
    const request = this.#requests.get(key);
    if (request?.pending !== pending) return undefined;
    this.#requests.delete(key);
    return request;
  }

  clear(): void {
    this.#requests.clear();
  }
}

/**
 * Requests that are carried out once: while one is under way, asking again finds it, and for a while after it succeeded,
 * its result. What has failed is forgotten, so that it can be tried again. This is what an OBU needs ("delivered"); a
 * broker ("run") has the same rules and keeps results for each tenant and on the disk: broker/results.
 *
 * Results are bounded in bytes, number and time, the oldest goes first. Times are milliseconds of `performance.now()`.
 *
 * Hot path: two small objects and no timer per request. A digest is taken in `complete`, when the answer is on its way.
 */
export class Once<Pending, Result> {
  readonly #options: OnceOptions;
  readonly #underWay = new UnderWay<Pending>();
  readonly #kept: KeptSet<Kept<Result>>;

  constructor(options: OnceOptions) {
    this.#options = options;
    const { maxBytes, maxCount } = options;
    const limits = { count: maxCount, bytes: maxBytes };
    this.#kept = new KeptSet({ limitsOf: () => limits, totals: { count: maxCount, memory: maxBytes, disk: 0 } });
  }

  /** Requests that are under way. */
  get pending(): number {
    return this.#underWay.size;
  }

  /** Of all that is kept. */
  get bytes(): number {
    return this.#kept.memoryBytes;
  }

  find(key: string, subject: string, input: Uint8Array, now: number = performance.now()): Found<Pending, Result> {
    const underWay = this.#underWay.find(key, subject, input);
    if (underWay.found !== 'nothing') return underWay;
    const kept = this.#kept.get(key, now);
    if (kept === undefined) return NOTHING;
    const same = kept.subject === subject && isInput(input, kept.input);
    return same ? { found: 'result', result: kept.result } : CONFLICT;
  }

  /** Only after `find` has found nothing. The input must not change while it is under way. */
  begin(key: string, subject: string, input: Uint8Array, pending: Pending): void {
    this.#underWay.begin(key, subject, input, pending);
  }

  /** It has succeeded. Nothing happens when it was forgotten meanwhile. @param size bytes of the result */
  complete(key: string, pending: Pending, result: Result, size: number, now: number = performance.now()): void {
    const request = this.#underWay.end(key, pending);
    if (request === undefined) return;
    const { maxBytes, maxAgeMs, inputs } = this.#options;
    const bytes = size + (inputs === 'bytes' ? request.input.length : 0);
    if (bytes > maxBytes) return;
    const input = inputs === 'bytes' ? request.input : digestOf(request.input);
    const { subject } = request;
    const item = {
      key,
      owner: '',
      subject,
      input,
      result,
      bytes,
      keptAt: now,
      expiresAt: now + maxAgeMs,
      onDisk: false,
    };
    this.#kept.add(item, now);
  }

  /** It has failed. Nothing happens when the key belongs to another one by now. */
  forget(key: string, pending: Pending): void {
    this.#underWay.end(key, pending);
  }

  /** Forgets everything; what is under way goes on, and its result is not kept. */
  clear(): void {
    this.#underWay.clear();
    this.#kept.clear();
  }
}

/** @param known the bytes of an input, or its digest */
export function isInput(input: Uint8Array, known: Uint8Array | string): boolean {
  return typeof known === 'string' ? known === digestOf(input) : sameBytes(known, input);
}

/** SHA-256 as base64. */
export function digestOf(input: Uint8Array): string {
  return hash('sha256', input, 'base64');
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || (a.length === b.length && Buffer.compare(a, b) === 0);
}

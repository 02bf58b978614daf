import { hash } from 'node:crypto';

export interface ResultLimits {
  /** Bytes of output that are kept altogether. */
  readonly maxBytes: number;
  readonly maxCount: number;
  /** Milliseconds after which a result is forgotten. */
  readonly maxAgeMs: number;
}

interface HasOutput {
  readonly output: Buffer;
}

interface Kept<Result> {
  readonly taskDigest: string;
  readonly inputDigest: string;
  readonly result: Result;
  readonly keptAt: number;
}

export type Lookup<Result> =
  | { readonly found: 'nothing' }
  | { readonly found: 'result'; readonly result: Result }
  /** The id belongs to an offload of another task or other input. */
  | { readonly found: 'other-offload' };

const NOTHING: Lookup<never> = { found: 'nothing' };

/**
 * Results that were sent lately, so that a caller that lost the answer gets it again without a second run. Bounded in
 * bytes, number and time; the oldest goes first. Only successes are kept: what has failed may be tried again.
 *
 * The digest of the input is taken after the answer is on its way, so it costs no latency.
 */
export class ResultStore<Result extends HasOutput> {
  readonly #limits: ResultLimits;
  readonly #kept = new Map<string, Kept<Result>>();
  #bytes = 0;

  constructor(limits: ResultLimits) {
    this.#limits = limits;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** `key` names tenant and id; `now` is monotonic, in milliseconds. */
  find(key: string, taskDigest: string, input: Uint8Array, now: number): Lookup<Result> {
    const kept = this.#kept.get(key);
    if (kept === undefined) return NOTHING;
    if (now - kept.keptAt > this.#limits.maxAgeMs) {
      this.#forget(key, kept);
      return NOTHING;
    }
    if (kept.taskDigest !== taskDigest || kept.inputDigest !== digest(input)) return { found: 'other-offload' };
    return { found: 'result', result: kept.result };
  }

  keep(key: string, taskDigest: string, input: Uint8Array, result: Result, now: number): void {
    const { maxBytes, maxCount, maxAgeMs } = this.#limits;
    const before = this.#kept.get(key);
    if (before !== undefined) this.#forget(key, before);
    if (result.output.length > maxBytes) return;
    // A small view of a large buffer would keep all of that alive.
    const isView = result.output.buffer.byteLength > 2 * result.output.length + 64;
    const output = isView ? Buffer.from(Uint8Array.from(result.output).buffer) : result.output;
    this.#kept.set(key, { taskDigest, inputDigest: digest(input), result: { ...result, output }, keptAt: now });
    this.#bytes += output.length;
    for (const [oldest, kept] of this.#kept) {
      const fits = this.#bytes <= maxBytes && this.#kept.size <= maxCount && now - kept.keptAt <= maxAgeMs;
      if (fits) break;
      this.#forget(oldest, kept);
    }
  }

  #forget(key: string, kept: Kept<Result>): void {
    this.#kept.delete(key);
    this.#bytes -= kept.result.output.length;
  }
}

function digest(input: Uint8Array): string {
  return hash('sha256', input, 'base64');
}

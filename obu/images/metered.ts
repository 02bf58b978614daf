import { createHash } from 'node:crypto';
import { Transform, type TransformCallback } from 'node:stream';

export type Progress = (line: string) => void;

const REPORT_MS = 1000;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

/** Passes bytes on, counts and hashes them, and says once a second how far it is. */
export class Metered extends Transform {
  readonly #hash = createHash('sha256');
  readonly #what: string;
  readonly #total: number | undefined;
  readonly #progress: Progress;
  #bytes = 0;
  #saidAtMs = performance.now();

  /** @param total Bytes that are to come, when that is known. */
  constructor(what: string, total: number | undefined, progress: Progress) {
    super();
    this.#what = what;
    this.#total = total;
    this.#progress = progress;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** In hex; of all bytes, once. */
  sha256(): string {
    return this.#hash.digest('hex');
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#hash.update(chunk);
    this.#bytes += chunk.length;
    const nowMs = performance.now();
    if (nowMs - this.#saidAtMs >= REPORT_MS) {
      this.#saidAtMs = nowMs;
      const of = this.#total === undefined ? '' : ` of ${megabytes(this.#total)}`;
      this.#progress(`${this.#what}: ${megabytes(this.#bytes)}${of}`);
    }
    done(null, chunk);
  }
}

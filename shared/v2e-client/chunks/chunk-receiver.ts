import { ErrorCode, KerbError } from '../../base/errors.ts';
import { type Sha256, startSha256 } from '../../base/hash/sha256.ts';
import { type Chunk, creditOf, encodeCredit, type Payload } from '../../protocol/chunks.ts';
import type { ChunkWire } from './chunk-sender.ts';

interface Incoming {
  readonly id: string;
  /** SHA-256 as base64, as the broker has announced it. */
  readonly digest: string;
  readonly buffer: Buffer;
  readonly hash: Sha256;
  readonly done: PromiseWithResolvers<Buffer>;
  received: number;
  allowed: number;
}

interface Partial {
  readonly incoming: Incoming;
  readonly timer: NodeJS.Timeout;
}

/** Outputs of lost connections that are kept to go on with: their number, bytes, and for how long. */
const KEPT = { count: 4, bytes: 64 * 1024 * 1024, ms: 30_000 };

/** Outputs that come in chunks. What a lost connection leaves goes on where it was, for the same id and hash. */
export class ChunkReceiver {
  readonly #wire: ChunkWire;
  readonly #broker: () => string;
  readonly #incoming = new Map<string, Incoming>();
  /** By id. */
  readonly #kept = new Map<string, Partial>();

  constructor(wire: ChunkWire, broker: () => string) {
    this.#wire = wire;
    this.#broker = broker;
  }

  /**
   * The whole output; those who wait for the same get the same.
   * @throws KerbError BadProtocolMessage: what came is not what was announced; Cancelled: `drop` or `lost` was called
   */
  receive(id: string, { size, sha256 }: Payload): Promise<Buffer> {
    const digest = Buffer.from(sha256).toString('base64');
    const there = this.#incoming.get(id);
    if (there !== undefined) {
      if (there.digest === digest && there.buffer.length === size) return there.done.promise;
      return Promise.reject(this.#bad('it announces two different outputs for one id'));
    }
    const incoming = this.#takeKept(id, digest, size) ?? fresh(id, digest, size);
    this.#incoming.set(id, incoming);
    incoming.done.promise.catch(() => {});
    incoming.allowed = incoming.received;
    this.#allow(incoming, incoming.received);
    return incoming.done.promise;
  }

  /** @returns false: it spoils its output, and the broker is to be told to stop */
  take({ id, offset, data }: Chunk): boolean {
    const incoming = this.#incoming.get(id);
    // It was on its way when its offload came to its end.
    if (incoming === undefined) return true;
    const { buffer, received, allowed } = incoming;
    if (offset !== received || offset + data.length > allowed) {
      this.#incoming.delete(id);
      incoming.hash.forget();
      const what =
        offset === received ? `ends beyond its credit` : `begins at ${offset}, and ${received} bytes are here`;
      incoming.done.reject(this.#bad(`a chunk of the output of ${id} ${what}`));
      return false;
    }
    buffer.set(data, received);
    incoming.received += data.length;
    incoming.hash.update(buffer.subarray(received, incoming.received));
    if (incoming.received < buffer.length) this.#allow(incoming, undefined);
    else void this.#check(incoming);
    return true;
  }

  /** It is not waited for any more. */
  drop(id: string): void {
    const incoming = this.#incoming.get(id);
    if (incoming === undefined) return;
    this.#incoming.delete(id);
    incoming.hash.forget();
    incoming.done.reject(new KerbError(ErrorCode.Cancelled, `the output of ${id} is not wanted any more`));
  }

  /** The connection is gone: what is here is kept for a while. */
  lost(): void {
    for (const incoming of this.#incoming.values()) {
      incoming.done.reject(new KerbError(ErrorCode.Cancelled, 'the connection was lost'));
      if (incoming.received < incoming.buffer.length) this.#keep({ ...incoming, done: Promise.withResolvers() });
    }
    this.#incoming.clear();
  }

  /** Forgets what is kept. */
  stop(): void {
    this.lost();
    for (const id of [...this.#kept.keys()]) this.#forget(id);
  }

  #allow(incoming: Incoming, from: number | undefined): void {
    const { id, buffer, received } = incoming;
    const bytes = creditOf(buffer.length, received, incoming.allowed);
    if (bytes === 0) return;
    incoming.allowed += bytes;
    this.#wire.send('credit', encodeCredit({ id, output: true, bytes, from }));
  }

  async #check(incoming: Incoming): Promise<void> {
    const { id, digest, buffer, hash, done } = incoming;
    const came = (await hash.digest()).toString('base64');
    if (this.#incoming.get(id) === incoming) this.#incoming.delete(id);
    if (came === digest) done.resolve(buffer);
    else done.reject(this.#bad(`the output of ${id} does not have the hash that was announced`));
  }

  #takeKept(id: string, digest: string, size: number): Incoming | undefined {
    const kept = this.#kept.get(id);
    if (kept === undefined) return undefined;
    const { incoming } = kept;
    const isSame = incoming.digest === digest && incoming.buffer.length === size;
    if (!isSame) this.#forget(id);
    clearTimeout(kept.timer);
    this.#kept.delete(id);
    return isSame ? incoming : undefined;
  }

  #keep(incoming: Incoming): void {
    const { id } = incoming;
    this.#forget(id);
    const timer = setTimeout(() => this.#forget(id), KEPT.ms);
    timer.unref();
    this.#kept.set(id, { incoming, timer });
    const bytes = () => [...this.#kept.values()].reduce((sum, one) => sum + one.incoming.buffer.length, 0);
    while (this.#kept.size > KEPT.count || bytes() > KEPT.bytes) this.#forget(this.#kept.keys().next().value!);
  }

  #forget(id: string): void {
    const kept = this.#kept.get(id);
    if (kept === undefined) return;
    this.#kept.delete(id);
    clearTimeout(kept.timer);
    kept.incoming.hash.forget();
  }

  #bad(what: string): KerbError {
    const broker = this.#broker();
    return new KerbError(ErrorCode.BadProtocolMessage, `broker ${broker} sent what cannot be used: ${what}`, {
      broker,
    });
  }
}

function fresh(id: string, digest: string, size: number): Incoming {
  const buffer = Buffer.allocUnsafeSlow(size);
  const hash = startSha256(size);
  return { id, digest, buffer, hash, done: Promise.withResolvers(), received: 0, allowed: 0 };
}

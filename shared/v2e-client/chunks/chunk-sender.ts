import { CHUNK_BYTES, type Credit, encodeChunk } from '../../protocol/chunks.ts';

/** The connection as a sender needs it. */
export interface ChunkWire {
  /** Little of what was sent before is still on this side. */
  readonly canWrite: boolean;
  send(event: 'chunk' | 'credit', bytes: Uint8Array): void;
}

interface Outgoing {
  readonly id: string;
  readonly input: Uint8Array;
  /** Offloads of the same id that share it. */
  users: number;
  at: number;
  /** Undefined until the broker has said where to begin. */
  allowed: number | undefined;
}

/**
 * Inputs that go out in chunks, as the broker gives credit for them. They take turns, and a chunk is written when little of
 * the one before is still on this side: whatever else is to be said goes between two of them.
 */
export class ChunkSender {
  readonly #wire: ChunkWire;
  /** By the id of the offload; the one whose turn it is first. */
  readonly #inputs = new Map<string, Outgoing>();

  constructor(wire: ChunkWire) {
    this.#wire = wire;
  }

  /** It has been announced, or is about to be. */
  add(id: string, input: Uint8Array): void {
    const there = this.#inputs.get(id);
    if (there !== undefined) there.users++;
    else this.#inputs.set(id, { id, input, users: 1, at: 0, allowed: undefined });
  }

  /** One offload of this id has come to its end. */
  remove(id: string): void {
    const input = this.#inputs.get(id);
    if (input !== undefined && --input.users <= 0) this.#inputs.delete(id);
  }

  /** The connection is lost. */
  clear(): void {
    this.#inputs.clear();
  }

  /** Of what has come to its end meanwhile, nothing happens. */
  credit({ id, bytes, from }: Credit): void {
    const input = this.#inputs.get(id);
    if (input === undefined) return;
    const { length } = input.input;
    if (from !== undefined) {
      input.at = Math.min(from, length);
      input.allowed = input.at;
    }
    if (input.allowed === undefined) return;
    input.allowed = Math.min(length, input.allowed + bytes);
    this.pump();
  }

  /** Something may be written now. */
  pump(): void {
    while (this.#wire.canWrite) {
      const next = this.#next();
      if (next === undefined) return;
      const { id, input, at } = next;
      const data = input.subarray(at, Math.min(next.allowed!, at + CHUNK_BYTES));
      next.at = at + data.length;
      this.#inputs.delete(id);
      this.#inputs.set(id, next);
      this.#wire.send('chunk', encodeChunk({ id, output: false, offset: at, data }));
    }
  }

  #next(): Outgoing | undefined {
    for (const input of this.#inputs.values()) {
      if (input.allowed !== undefined && input.at < input.allowed) return input;
    }
    return undefined;
  }
}

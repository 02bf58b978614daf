/** The parts of a result that go to the disk. */

/** Of a result that is on the disk, what the broker has in memory. */
export interface StoredRow {
  readonly key: string;
  readonly tenant: string;
  readonly task: string;
  readonly isolation: string;
  /** Base64. */
  readonly inputSha256: string;
  /** Bytes of the output. */
  readonly size: number;
  /** Milliseconds that it is kept from its completion, and milliseconds since 1970 when that ends. */
  readonly keepMs: number;
  readonly expiresAt: number;
}

/** `facts`: times and use of the run, as JSON; only results.ts reads it. */
export interface ResultToStore extends StoredRow {
  readonly facts: string;
  readonly receipt: Uint8Array | undefined;
  readonly output: Uint8Array;
}

export interface StoredResult {
  readonly facts: string;
  readonly receipt: Uint8Array | undefined;
  readonly output: Uint8Array;
}

/** A ResultToStore whose bytes are `receiptBytes` and then `size` of one buffer for the whole batch. */
export interface PackedResult extends Omit<ResultToStore, 'receipt' | 'output'> {
  readonly receiptBytes: number;
}

/** In the order in which they were asked for. */
export type StoreChange =
  | { readonly put: PackedResult }
  | { readonly remove: string }
  /** With the commit, nothing of what was removed is left in the file. */
  | { readonly scrub: true };

/** One commit. */
export interface StoreBatch {
  readonly changes: readonly StoreChange[];
  readonly bytes: Uint8Array;
}

export interface StoreDone {
  /** False as well when nothing was to be scrubbed. */
  readonly isScrubbed: boolean;
}

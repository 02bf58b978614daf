/** The parts of a result that go to the disk, and the messages between the broker and the thread that writes it. */

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
export type StoreChange = { readonly put: PackedResult } | { readonly remove: string };

export type StoreRequest =
  | { readonly kind: 'open' }
  | { readonly kind: 'write'; readonly changes: readonly StoreChange[]; readonly bytes: Uint8Array }
  | { readonly kind: 'read'; readonly request: number; readonly key: string }
  | { readonly kind: 'close' };

export type StoreReply =
  /** `aside`: where what was damaged is now, and why; empty: nothing was. */
  | { readonly kind: 'opened'; readonly rows: readonly StoredRow[]; readonly aside: string; readonly reason: string }
  | { readonly kind: 'failed-to-open'; readonly inUse: boolean; readonly reason: string }
  /** `reason` empty: all of the last batch is on the disk. Otherwise nothing of it is. */
  | { readonly kind: 'written'; readonly reason: string }
  | {
      readonly kind: 'read';
      readonly request: number;
      readonly result: StoredResult | undefined;
      readonly reason: string;
    }
  | { readonly kind: 'closed' };

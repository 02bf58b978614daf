import type { ResultToStore, StoreChange } from './stored-result.ts';

/** A change that waits to be written. */
export interface Waiting {
  readonly put: ResultToStore | undefined;
  /** For what is removed. */
  readonly key: string;
  readonly done: ((isOnDisk: boolean) => void) | undefined;
  readonly since: number;
}

export function changeOf({ put, key }: Waiting): StoreChange {
  if (put === undefined) return { remove: key };
  const { receipt, output: _, ...row } = put;
  return { put: { ...row, receiptBytes: receipt?.length ?? 0 } };
}

/** In memory of its own, which the other thread takes over. */
export function packedBytes(batch: readonly Waiting[]): Uint8Array<ArrayBuffer> {
  let size = 0;
  for (const { put } of batch) if (put !== undefined) size += put.size + (put.receipt?.length ?? 0);
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const { put } of batch) {
    for (const part of put === undefined ? [] : [put.receipt, put.output]) {
      if (part === undefined) continue;
      bytes.set(part, at);
      at += part.length;
    }
  }
  return bytes;
}

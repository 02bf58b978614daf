import type { ResultToStore, StoreChange } from './stored-result.ts';

/** A change that waits to be written. */
export interface Waiting {
  readonly put: ResultToStore | undefined;
  /** For what is removed. */
  readonly key: string;
  /** Told whether a result that is put is on the disk, or whether what was removed has left the file. */
  readonly done: ((isSo: boolean) => void) | undefined;
  /** Nothing of what was removed is to be left in the file. */
  readonly scrub?: true;
  readonly since: number;
}

export function changeOf({ put, key, scrub }: Waiting): StoreChange {
  if (scrub) return { scrub };
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

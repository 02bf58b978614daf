/** The thread that writes results to the disk and reads them. */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { sealWith } from '../storage/seal.ts';
import { serveDatabase } from '../storage/serve-database.ts';
import { ResultDatabase } from './result-database.ts';
import type { StoreBatch, StoreDone } from './stored-result.ts';

export interface StoreThreadData {
  readonly folder: string;
  readonly keys: readonly Uint8Array[];
}

export function serveResults(port: MessagePort, { folder, keys }: StoreThreadData): void {
  const database = new ResultDatabase(folder, sealWith(keys));
  const served = {
    get isOpen() {
      return database.isOpen;
    },
    open: () => database.open(),
    close: () => database.close(),
    moveAside: () => database.moveAside(),
    apply: ({ changes, bytes }: StoreBatch) => database.apply(changes, bytes),
    notDone: (): StoreDone => ({ isScrubbed: false }),
    read: (key: string) => database.read(key),
  };
  serveDatabase(served, port);
}

// Set-up loads every source once, for Node's compile cache: outside of a thread nothing is opened.
if (parentPort !== null) serveResults(parentPort, workerData as StoreThreadData);

/** The thread that writes results to the disk and reads them. */
import { workerData } from 'node:worker_threads';
import { sealWith } from '../storage/seal.ts';
import { serveDatabase } from '../storage/serve-database.ts';
import { ResultDatabase } from './result-database.ts';
import type { StoreBatch, StoreDone } from './stored-result.ts';

const { folder, keys } = (workerData ?? { folder: '', keys: [] }) as {
  readonly folder: string;
  readonly keys: readonly Uint8Array[];
};
const database = new ResultDatabase(folder, sealWith(keys));

serveDatabase({
  get isOpen() {
    return database.isOpen;
  },
  open: () => database.open(),
  close: () => database.close(),
  moveAside: () => database.moveAside(),
  apply: ({ changes, bytes }: StoreBatch) => database.apply(changes, bytes),
  notDone: (): StoreDone => ({ isScrubbed: false }),
  read: (key: string) => database.read(key),
});

/** The thread that keeps the values of sessions. */
import { workerData } from 'node:worker_threads';
import { sealWith } from '../storage/seal.ts';
import { serveDatabase } from '../storage/serve-database.ts';
import { StateDatabase } from './state-database.ts';
import type { StateReply, StateRequest } from './state-types.ts';

export interface StateThreadData {
  readonly folder: string;
  readonly maxBytes: number;
  readonly keys: readonly Uint8Array[];
}

const { folder, maxBytes, keys } = (workerData ?? { folder: '', maxBytes: 0, keys: [] }) as StateThreadData;
const database = new StateDatabase(folder, maxBytes, sealWith(keys));

serveDatabase({
  get isOpen() {
    return database.isOpen;
  },
  open: () => {
    database.open();
    return database.use(true);
  },
  close: () => database.close(),
  moveAside: () => database.moveAside(),
  apply: (requests: readonly StateRequest[]) => ({ replies: database.apply(requests), use: database.use(false) }),
  notDone: (requests, reason) => ({
    replies: requests.map((): StateReply => ({ kind: 'failed', reason })),
    use: database.use(false),
  }),
  read: () => {},
});

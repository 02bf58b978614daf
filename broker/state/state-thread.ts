/** The thread that keeps the values of sessions. */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { sealWith } from '../storage/seal.ts';
import { serveDatabase } from '../storage/serve-database.ts';
import { StateDatabase } from './state-database.ts';
import type { StateReply, StateRequest } from './state-types.ts';

export interface StateThreadData {
  readonly folder: string;
  readonly maxBytes: number;
  readonly keys: readonly Uint8Array[];
}

export function serveState(port: MessagePort, { folder, maxBytes, keys }: StateThreadData): void {
  const database = new StateDatabase(folder, maxBytes, sealWith(keys));
  const served = {
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
    notDone: (requests: readonly StateRequest[], reason: string) => ({
      replies: requests.map((): StateReply => ({ kind: 'failed', reason })),
      use: database.use(false),
    }),
    read: () => {},
  };
  serveDatabase(served, port);
}

// Set-up loads every source once, for Node's compile cache: outside of a thread nothing is opened.
if (parentPort !== null) serveState(parentPort, workerData as StateThreadData);

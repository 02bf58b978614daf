/** The thread that keeps the values of sessions. It ends when it has closed the database. */
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../../shared/base/errors.ts';
import { DamagedError, InUseError } from '../storage/database-file.ts';
import { sealWith } from '../storage/seal.ts';
import { StateDatabase } from './state-database.ts';
import type { StateReply, StateRequest, ThreadReply, ThreadRequest } from './state-types.ts';

export interface StateThreadData {
  readonly folder: string;
  readonly maxBytes: number;
  readonly keys: readonly Uint8Array[];
}

// Set-up loads every source once, for Node's compile cache: outside of a thread there is no port, and nothing is opened.
const port = parentPort;
const { folder, maxBytes, keys } = (workerData ?? { folder: '', maxBytes: 0, keys: [] }) as StateThreadData;
const database = new StateDatabase(folder, maxBytes, sealWith(keys));

function send(reply: ThreadReply): void {
  port?.postMessage(reply);
}

/** A damaged database is put aside, once, and the broker goes on with an empty one. */
function open(): boolean {
  let aside = '';
  let why = '';
  for (;;) {
    try {
      database.open();
      send({ kind: 'opened', aside, reason: why, use: database.use(true) });
      return true;
    } catch (error) {
      const reason = messageOf(error);
      if (!(error instanceof DamagedError) || aside !== '') {
        send({ kind: 'failed-to-open', inUse: error instanceof InUseError, reason });
        return false;
      }
      why = reason;
      aside = tryMoveAside() ?? '';
      if (aside === '') return false;
    }
  }
}

function tryMoveAside(): string | undefined {
  try {
    return database.moveAside();
  } catch (error) {
    send({ kind: 'failed-to-open', inUse: false, reason: messageOf(error) });
    return undefined;
  }
}

function batch(requests: readonly StateRequest[]): void {
  let replies: readonly StateReply[];
  let trouble = '';
  try {
    if (!database.isOpen && !open()) throw new Error('the database cannot be opened');
    replies = database.apply(requests);
  } catch (error) {
    trouble = messageOf(error);
    // The rest of a damaged database is not to be relied on either.
    if (error instanceof DamagedError) database.close();
    replies = requests.map(() => ({ kind: 'failed', reason: trouble }));
  }
  send({ kind: 'done', replies, trouble, use: database.use(false) });
}

port?.on('message', (request: ThreadRequest) => {
  switch (request.kind) {
    case 'open':
      open();
      return;
    case 'batch':
      batch(request.requests);
      return;
    case 'close':
      database.close();
      send({ kind: 'closed' });
      port.close();
  }
});

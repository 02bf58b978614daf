/** The thread that writes results to the disk and reads them. It ends when it has closed the database. */
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../../shared/base/errors.ts';
import { DamagedError, InUseError } from '../storage/database-file.ts';
import { sealWith } from '../storage/seal.ts';
import { ResultDatabase } from './result-database.ts';
import type { StoreReply, StoreRequest } from './stored-result.ts';

// Set-up loads every source once, for Node's compile cache: outside of a thread there is no port, and nothing is opened.
const port = parentPort;
const { folder, keys } = (workerData ?? { folder: '', keys: [] }) as {
  readonly folder: string;
  readonly keys: readonly Uint8Array[];
};
const database = new ResultDatabase(folder, sealWith(keys));

function send(reply: StoreReply): void {
  port?.postMessage(reply);
}

/** A damaged database is put aside, once, and the broker goes on with an empty one. */
function open(): boolean {
  let aside = '';
  let why = '';
  for (;;) {
    try {
      send({ kind: 'opened', rows: database.open(), aside, reason: why });
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

function handle(request: StoreRequest): void {
  switch (request.kind) {
    case 'open':
      open();
      return;
    case 'write': {
      const reason = attempt(() => database.apply(request.changes, request.bytes));
      send({ kind: 'written', reason });
      return;
    }
    case 'read': {
      let result: ReturnType<ResultDatabase['read']>;
      const reason = attempt(() => {
        result = database.read(request.key);
      });
      send({ kind: 'read', request: request.request, result, reason });
      return;
    }
    case 'close':
      database.close();
      send({ kind: 'closed' });
      port?.close();
  }
}

/** @returns why it failed; empty: it did not */
function attempt(action: () => void): string {
  try {
    if (!database.isOpen && !open()) return 'the database cannot be opened';
    action();
    return '';
  } catch (error) {
    // The rest of a damaged database is not to be relied on either.
    if (error instanceof DamagedError) database.close();
    return messageOf(error);
  }
}

port?.on('message', handle);

/** The other end of `DatabaseThread`, in the thread. It ends when it has closed the database. */
import type { MessagePort } from 'node:worker_threads';
import { messageOf } from '../../shared/base/errors.ts';
import { DamagedError, InUseError } from './database-file.ts';
import type { ThreadReply, ThreadRequest } from './thread-messages.ts';

export interface ServedDatabase<Batch, Done, Question, Answer, Opened> {
  readonly isOpen: boolean;
  /** @throws DamagedError | InUseError | errors of the file system and of SQLite */
  open(): Opened;
  close(): void;
  /** Puts what is damaged beside it. @returns where it is now */
  moveAside(): string;
  /** Changes in one transaction, on the disk when it returns. @throws as `open` */
  apply(batch: Batch): Done;
  /** The answer when it could not be done. */
  notDone(batch: Batch, reason: string): Done;
  /** Reads, without a transaction. @throws as `open` */
  read(question: Question): Answer;
}

export function serveDatabase<Batch, Done, Question, Answer, Opened>(
  database: ServedDatabase<Batch, Done, Question, Answer, Opened>,
  port: MessagePort,
): void {
  const send = (reply: ThreadReply<Done, Answer | undefined, Opened>) => port.postMessage(reply);

  /** A damaged database is put aside, once, and the broker goes on with an empty one. */
  const open = (): boolean => {
    let aside = '';
    let why = '';
    for (;;) {
      try {
        send({ kind: 'opened', opened: database.open(), aside, reason: why });
        return true;
      } catch (error) {
        const reason = messageOf(error);
        if (!(error instanceof DamagedError) || aside !== '') {
          send({ kind: 'failed-to-open', inUse: error instanceof InUseError, reason });
          return false;
        }
        why = reason;
        try {
          aside = database.moveAside();
        } catch (cause) {
          send({ kind: 'failed-to-open', inUse: false, reason: messageOf(cause) });
          return false;
        }
      }
    }
  };

  /** @returns why it failed; empty: it did not */
  const attempt = (action: () => void): string => {
    try {
      if (!database.isOpen && !open()) return 'the database cannot be opened';
      action();
      return '';
    } catch (error) {
      // The rest of a damaged database is not to be relied on either.
      if (error instanceof DamagedError) database.close();
      return messageOf(error);
    }
  };

  port.on('message', (message: ThreadRequest<Batch, Question>) => {
    switch (message.kind) {
      case 'open':
        open();
        return;
      case 'batch': {
        let done: Done | undefined;
        const trouble = attempt(() => {
          done = database.apply(message.batch);
        });
        send({ kind: 'done', done: done ?? database.notDone(message.batch, trouble), trouble });
        return;
      }
      case 'read': {
        let answer: Answer | undefined;
        const reason = attempt(() => {
          answer = database.read(message.question);
        });
        send({ kind: 'answer', request: message.request, answer, reason });
        return;
      }
      case 'close':
        database.close();
        send({ kind: 'closed' });
        port.close();
    }
  });
}

/** Between a broker and the thread of one of its databases. */

export type ThreadRequest<Batch, Question> =
  | { readonly kind: 'open' }
  | { readonly kind: 'batch'; readonly batch: Batch }
  | { readonly kind: 'read'; readonly request: number; readonly question: Question }
  | { readonly kind: 'close' };

export type ThreadReply<Done, Answer, Opened> =
  /** `aside`: where what was damaged is now, and why; empty: nothing was. */
  | { readonly kind: 'opened'; readonly opened: Opened; readonly aside: string; readonly reason: string }
  | { readonly kind: 'failed-to-open'; readonly inUse: boolean; readonly reason: string }
  /** `trouble` empty: all of the batch is on the disk. Otherwise nothing of it is. */
  | { readonly kind: 'done'; readonly done: Done; readonly trouble: string }
  | { readonly kind: 'answer'; readonly request: number; readonly answer: Answer; readonly reason: string }
  | { readonly kind: 'closed' };

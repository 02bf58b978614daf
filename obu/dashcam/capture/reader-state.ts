import { type BackOff, backOffMs } from '../../../shared/base/back-off.ts';

/** How the one reader of a camera is doing. `failures` counts failures in a row and sets the wait before the next try. */
export type ReaderState =
  | { readonly state: 'Idle' }
  | { readonly state: 'Starting' }
  | { readonly state: 'Running'; readonly sinceMs: number; readonly failures: number }
  | { readonly state: 'Failed'; readonly reason: string; readonly failures: number };

export type ReaderEvent =
  | { readonly event: 'wanted' }
  | { readonly event: 'unwanted' }
  | { readonly event: 'picture' }
  | { readonly event: 'failed'; readonly reason: string };

/** A camera that ran for this long had recovered: its next failure starts the back-off anew. */
const RECOVERED_MS = 5000;
/** Short at the top, because a camera that is plugged in again should be back before anyone looks. */
const RETRY: BackOff = { firstMs: 500, longestMs: 5000 };

/** A failed reader stays Failed while it is tried again, until a picture comes: that is what a person wants to see. */
export function nextReaderState(now: ReaderState, event: ReaderEvent, nowMs: number): ReaderState {
  switch (event.event) {
    case 'unwanted':
      return { state: 'Idle' };
    case 'wanted':
      return now.state === 'Idle' ? { state: 'Starting' } : now;
    case 'picture':
      if (now.state === 'Idle' || now.state === 'Running') return now;
      return { state: 'Running', sinceMs: nowMs, failures: now.state === 'Failed' ? now.failures : 0 };
    case 'failed': {
      if (now.state === 'Idle') return now;
      const recovered = now.state === 'Running' && nowMs - now.sinceMs >= RECOVERED_MS;
      const before = now.state === 'Starting' || recovered ? 0 : now.failures;
      return { state: 'Failed', reason: event.reason, failures: before + 1 };
    }
  }
}

/** Milliseconds until the try after this many failures in a row (1 or more): 500, doubling, at most 5000. */
export function retryDelayMs(failures: number): number {
  return backOffMs(failures, RETRY);
}

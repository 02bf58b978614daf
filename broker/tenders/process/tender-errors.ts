import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import type { TenderState } from './tender.ts';

/**
 * A tender cannot be had; `imagePath` is undefined for one that is to be given its image later.
 * @param starved it got no processor
 */
export function unavailable(imagePath: string | undefined, reason: string, starved = false): KerbError {
  const what = imagePath === undefined ? 'tender without an image' : `tender for ${imagePath}`;
  return new KerbError(ErrorCode.TenderUnavailable, `${what}: ${reason}`, {
    image: imagePath,
    reason,
    starved,
  });
}

/**
 * Its process has ended, or is about to, and what it was doing is lost.
 * @param starved it got no processor
 */
export function died(pid: number | undefined, reason: string, starved = false): KerbError {
  return new KerbError(ErrorCode.TenderDied, `tender ${pid} ${reason}; its call is lost, start another one`, {
    pid,
    reason,
    starved,
  });
}

/** It was called, and does not wait for a call. */
export function notWaiting(pid: number | undefined, state: TenderState): KerbError {
  return state === 'Busy'
    ? new KerbError(ErrorCode.TenderUnavailable, `tender ${pid} is busy: it takes one call at a time`, { pid })
    : new KerbError(ErrorCode.TenderDied, `tender ${pid ?? '(never started)'} is ${state}: start another one`, {
        pid,
        state,
      });
}

/** It was started a second time. */
export function onlyOnce(): KerbError {
  return new KerbError(ErrorCode.TenderUnavailable, 'a tender can be started once; make another one');
}

/** Nothing of it is sent. Sizes in bytes. */
export function inputTooLarge(task: string, size: number, maxInput: number): KerbError {
  return new KerbError(
    ErrorCode.TenderInputTooLarge,
    `input of ${size} bytes for task ${task}: it takes at most ${maxInput}`,
    { task, size, maxInput },
  );
}

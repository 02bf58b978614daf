import { ErrorCode, KerbError } from '../../shared/base/errors.ts';

/** Bytes of one piece of a file or an output. */
export const MAX_PIECE = 256 * 1024;
/** Milliseconds that a neighbour has for one piece; after that the fetch is given up and tried again later. */
export const PIECE_MS = 10_000;

/** A neighbour asks for something that it may not have, or that is not there. */
export function forbidden(why: string): KerbError {
  return new KerbError(ErrorCode.BadOffloadRequest, `the request of a neighbour cannot be used: ${why}`);
}

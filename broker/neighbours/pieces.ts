import { ErrorCode, KerbError } from '../../shared/base/errors.ts';

/** Bytes of one piece of a file or an output. */
export const MAX_PIECE = 256 * 1024;
/** A neighbour that does not send a piece in this time, in milliseconds, is given up for now. */
export const PIECE_MS = 10_000;

/** A neighbour asks for something that it may not have, or that is not there. */
export function forbidden(why: string): KerbError {
  return new KerbError(ErrorCode.BadOffloadRequest, `the request of a neighbour cannot be used: ${why}`);
}

/**
 * Inputs and outputs that cross the wire in pieces: docs/protocol/v2e.md, "Large payloads".
 *
 * Hot path: a chunk is encoded with one copy of its data, and decoded as a view of the message.
 */
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import { kerbside } from './generated/v2e.js';
import { isOffloadId } from './offload-request.ts';
import { encodeInPlace } from './v2e-encode.ts';

const { Chunk: WireChunk, Credit: WireCredit, ChunkReply } = kerbside.v2e;

/** A larger payload is sent in chunks to whoever can take them. A smaller one is not worth another round trip. */
export const MAX_WHOLE = 128 * 1024;
/** Bytes of data in one chunk. */
export const CHUNK_BYTES = 64 * 1024;
/** Bytes of one payload that may be on their way. Over 50 ms and back, 40 Mbit/s. */
export const WINDOW_BYTES = 256 * 1024;
/** Up to this size all of a payload may be on its way at once: each wait for credit costs two threads' wake-ups. */
export const ONE_CREDIT = 1024 * 1024;
/** Whatever the other end says: not even a task's own memory may be larger. */
const MAX_PAYLOAD = 2 ** 31;

export interface Payload {
  readonly size: number;
  /** 32 bytes. */
  readonly sha256: Uint8Array;
}

export interface Chunk {
  readonly id: string;
  readonly output: boolean;
  readonly offset: number;
  readonly data: Uint8Array;
}

export interface Credit {
  readonly id: string;
  readonly output: boolean;
  readonly bytes: number;
  /** Sending begins here, or begins anew; undefined: it goes on. */
  readonly from: number | undefined;
}

/**
 * By how much the other end may send more; 0 while there is enough left of what was allowed before.
 * @param allowed the end of what may be sent so far
 */
export function creditOf(size: number, received: number, allowed: number): number {
  const window = size <= ONE_CREDIT ? size : WINDOW_BYTES;
  const end = Math.min(size, received + window);
  const more = end - allowed;
  return more <= 0 || (allowed - received > window / 2 && end < size) ? 0 : more;
}

export function encodeChunk({ id, output, offset, data }: Chunk): Uint8Array {
  return encodeInPlace(WireChunk, { id, output, offset, data }, data.length);
}

/** @throws KerbError BadOffloadRequest */
export function decodeChunk(bytes: Uint8Array): Chunk {
  const { id, output, offset, data } = decoded(() => WireChunk.decode(bytes), 'Chunk');
  if (!isOffloadId(id)) throw bad('the id of a chunk is not 1 to 128 printable ASCII characters without spaces');
  if (data.length === 0 || data.length > CHUNK_BYTES)
    throw bad(`a chunk of ${data.length} bytes is not valid: it must have 1 to ${CHUNK_BYTES}`);
  return { id, output, offset: Number(offset), data };
}

export function encodeCredit({ id, output, bytes, from }: Credit): Uint8Array {
  return WireCredit.encode({ id, output, bytes, ...(from !== undefined && { from }) }).finish();
}

/** @throws KerbError BadOffloadRequest */
export function decodeCredit(bytes: Uint8Array): Credit {
  const { id, output, bytes: more, from } = decoded(() => WireCredit.decode(bytes), 'Credit');
  if (!isOffloadId(id)) throw bad('the id of a credit is not 1 to 128 printable ASCII characters without spaces');
  return { id, output, bytes: Number(more), from: from == null ? undefined : Number(from) };
}

export function encodeChunkReply(received: number): Uint8Array {
  return ChunkReply.encode({ received }).finish();
}

/** Undefined: there is no such payload. @throws Error when what was announced cannot be a payload */
export function payloadFrom(
  announced: { readonly size?: unknown; readonly sha256?: Uint8Array | null } | null | undefined,
): Payload | undefined {
  if (announced == null) return undefined;
  const size = Number(announced.size ?? 0);
  const { sha256 } = announced;
  if (!(Number.isSafeInteger(size) && size > 0 && size <= MAX_PAYLOAD))
    throw new Error(`its size ${size} is not valid: it must be 1 to ${MAX_PAYLOAD}`);
  if (sha256?.length !== 32) throw new Error('its hash is not a valid SHA-256: it must have 32 bytes');
  return { size, sha256 };
}

function decoded<T>(decode: () => T, what: string): T {
  try {
    return decode();
  } catch (error) {
    throw bad(`it is not a valid ${what}: ${messageOf(error)}`);
  }
}

function bad(what: string): KerbError {
  return new KerbError(ErrorCode.BadOffloadRequest, `the message cannot be used: ${what}`);
}

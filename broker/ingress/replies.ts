/** The messages of version 2 beside offloads (shared/protocol/v2e.proto), in and out. */
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import { isId } from '../../shared/identity/identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { isOffloadId } from '../../shared/protocol/offload-request.ts';
import { isDigest } from '../../shared/task-package/format.ts';
import { isVersionRange } from '../../shared/task-package/version-range.ts';
import type { VehicleClaim } from '../neighbours/result-claims.ts';
import type { TaskDescription, TaskQuery } from '../packages/describe.ts';
import { encodeRefusal, withReason } from './codec.ts';

const { CancelRequest, ClaimRequest, CancelReply, CancelState, DescribeRequest, DescribeReply, DrainNotice } =
  kerbside.v2e;
const { AnnounceReply, ChunkReply, OfferReply, PushReply } = kerbside.v2e;

const MAX_CLAIM_MS = 3_600_000;
const TASK_NAME = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/;

/** @throws KerbError BadOffloadRequest */
export function decodeCancel(bytes: Buffer): string {
  const { id } = decoded(() => CancelRequest.decode(bytes), 'CancelRequest');
  if (isOffloadId(id)) return id;
  throw bad('the id of a cancel is not 1 to 128 printable ASCII characters without spaces');
}

export function encodeCancelled(isCancelled: boolean): Uint8Array {
  return CancelReply.encode({ state: isCancelled ? CancelState.CANCELLED : CancelState.UNKNOWN_OFFLOAD }).finish();
}

/** @throws KerbError BadOffloadRequest */
export function decodeClaim(bytes: Buffer, arrivedAt: number): VehicleClaim {
  const { id, broker, token, budgetMs, isolation } = decoded(() => ClaimRequest.decode(bytes), 'ClaimRequest');
  if (!isOffloadId(id)) throw bad('the id of a claim is not 1 to 128 printable ASCII characters without spaces');
  if (!isId(broker)) throw bad('the broker of a claim is not a valid id');
  if (!(budgetMs > 0 && budgetMs <= MAX_CLAIM_MS))
    throw bad(`the budget of a claim is not above 0 and at most ${MAX_CLAIM_MS} ms`);
  if (!['', 'any', 'vm'].includes(isolation)) throw bad('the isolation of a claim is neither "any" nor "vm"');
  return { id, broker, token: Buffer.from(token), deadline: new Deadline(budgetMs, arrivedAt), isolation };
}

/** @throws KerbError BadOffloadRequest */
export function decodeDescribe(bytes: Buffer): TaskQuery {
  const { taskDigest, name, range } = decoded(() => DescribeRequest.decode(bytes), 'DescribeRequest');
  if (taskDigest !== '') {
    if (name !== '' || range !== '') throw bad('a describe names a task by digest, or by name and range, not by both');
    if (!isDigest(taskDigest)) throw bad('the task of a describe is not "sha256:" and 64 hexadecimal digits');
    return { digest: taskDigest };
  }
  if (!TASK_NAME.test(name)) throw bad('a describe has neither a digest nor a name of a task');
  if (!isVersionRange(range)) throw bad(`the range of a describe is not valid: it must be like 1.2.3, ^1.2, ~1.2 or *`);
  return { name, range };
}

export function encodeDescription({ digest, files }: TaskDescription): Uint8Array {
  const described = files.map(({ path, bytes }) => ({ path, content: bytes }));
  return DescribeReply.encode({ task: { digest, files: described } }).finish();
}

export function encodeDrain(endsInMs: number, tryBrokers: readonly string[]): Uint8Array {
  return DrainNotice.encode({ endsInMs, tryBrokers: [...tryBrokers] }).finish();
}

/** A refusal in the message with which this event is acknowledged; of an unknown event, in an OffloadReply. */
export function refuseEvent(name: string, refusal: Refusal): Uint8Array {
  const wire = withReason(refusal);
  switch (name) {
    case 'cancel':
      return CancelReply.encode({ refusal: wire }).finish();
    case 'describe':
      return DescribeReply.encode({ refusal: wire }).finish();
    case 'announce':
      return AnnounceReply.encode({ refusal: wire }).finish();
    case 'push':
      return PushReply.encode({ refusal: wire }).finish();
    case 'chunk':
    case 'credit':
      return ChunkReply.encode({ refusal: wire }).finish();
    case 'offer':
      return OfferReply.encode({ reply: { refusal: wire } }).finish();
    default:
      return encodeRefusal('', refusal, 0);
  }
}

function decoded<T>(decode: () => T, what: string): T {
  try {
    return decode();
  } catch (error) {
    throw bad(`it is not a valid ${what}: ${messageOf(error)}`);
  }
}

function bad(what: string): KerbError {
  return new KerbError(ErrorCode.BadOffloadRequest, `the request cannot be used: ${what}`);
}

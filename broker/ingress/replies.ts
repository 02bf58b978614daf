/** The messages of version 2 beside offloads (shared/protocol/v2e.proto), in and out. */
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import { isId, isTenant } from '../../shared/identity/identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { isOffloadId } from '../../shared/protocol/offload-request.ts';
import { isDigest } from '../../shared/task-package/format.ts';
import { isVersionRange } from '../../shared/task-package/version-range.ts';
import type { VehicleClaim } from '../neighbours/result-claims.ts';
import type { TaskDescription, TaskQuery } from '../packages/describe.ts';
import type { KeyEntry, KeyOperation, KeyRequest } from '../state/key-requests.ts';
import { isStateKey, MAX_VALUE } from '../state/state-types.ts';
import { encodeRefusal, withReason } from './codec.ts';

const { CancelRequest, ClaimRequest, CancelReply, CancelState, DescribeRequest, DescribeReply, DrainNotice } =
  kerbside.v2e;
const { AnnounceReply, ChunkReply, OfferReply, PushReply, StateReply, StateRequest } = kerbside.v2e;

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

/** By their numbers in the protocol. */
const OPERATIONS: readonly (KeyOperation | undefined)[] = [undefined, 'get', 'put', 'cas', 'delete'];

/** @throws KerbError BadOffloadRequest | StateTooLarge */
export function decodeState(bytes: Buffer): KeyRequest {
  const request = decoded(() => StateRequest.decode(bytes), 'StateRequest');
  const { task, value, ttlMs } = request;
  const expected = request.expected == null ? undefined : Number(request.expected);
  const { home, key, tenant } = request.state ?? {};
  if (!isStateKey(home ?? '')) throw bad('the home of a state is not the id of a broker');
  if (!isStateKey(key ?? '')) throw bad('the key of a state is not 1 to 128 printable ASCII characters without spaces');
  if (tenant && !isTenant(tenant)) throw bad('the tenant of a state is not a valid name');
  if (!TASK_NAME.test(task)) throw bad('the task of a state is not a name of a task');
  const operation = OPERATIONS[request.operation];
  if (operation === undefined) throw bad('the operation of a state is not get, put, compare-and-set or delete');
  const writes = operation === 'put' || operation === 'cas';
  if (!writes && (value.length > 0 || ttlMs > 0)) throw bad(`${operation} of a state takes no value and no ttl_ms`);
  if (operation === 'cas' && expected === undefined)
    throw bad('a compare-and-set of a state does not say which version it expects');
  if ((operation === 'get' || operation === 'put') && expected !== undefined)
    throw bad(`${operation} of a state expects no version; compare-and-set does`);
  if (expected !== undefined && !Number.isSafeInteger(expected))
    throw bad('the version that is expected is not a valid one');
  if (value.length > MAX_VALUE) {
    const message = `a value of ${value.length} bytes is too large for a state: it may have ${MAX_VALUE}`;
    throw new KerbError(ErrorCode.StateTooLarge, message);
  }
  const which = { home: home!, key: key!, tenant: tenant ?? '', task };
  // A copy of its own: what is handed to the thread takes all of the memory that it is a view of.
  return { ...which, operation, value: new Uint8Array(value), expected, ttlMs };
}

/** As another broker is asked for it. */
export function encodeState({ home, key, tenant, task, operation, value, expected, ttlMs }: KeyRequest): Uint8Array {
  const request = { state: { home, key, tenant }, task, operation: OPERATIONS.indexOf(operation), value, expected };
  return StateRequest.encode({ ...request, ttlMs: Number.isFinite(ttlMs) ? ttlMs : 0 }).finish();
}

export function encodeEntry({ version, value, expiresInMs }: KeyEntry): Uint8Array {
  const entry = { version, value: value ?? new Uint8Array(0), expiresInMs: Math.ceil(expiresInMs) };
  return StateReply.encode({ entry }).finish();
}

/** @param version that is there instead of the expected one */
export function encodeConflict(refusal: Refusal, version: number): Uint8Array {
  return StateReply.encode({ refusal: withReason(refusal), current: version }).finish();
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
    case 'state':
      return StateReply.encode({ refusal: wire }).finish();
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

/**
 * V2E messages in and out (shared/protocol/v2e.proto). Hot path: checked by hand; the input is a view of what the socket
 * delivered, and the one copy on the way out is into the encoded reply.
 */
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { isOffloadId, isolationFrom } from '../../shared/protocol/offload-request.ts';
import { encodeInPlace } from '../../shared/protocol/v2e-encode.ts';
import { isDigest } from '../../shared/task-package/format.ts';
import type { IncomingOffload, TaskResult } from '../offloads/offload.ts';

const { OffloadRequest, OffloadReply, ServiceAnnouncement } = kerbside.v2e.v1;

const MAX_BUDGET_MS = 3_600_000;
const MAX_PRIORITY = 1000;

/**
 * @param arrivedAt `performance.now()` when its last byte was here
 * @throws KerbError BadOffloadRequest; `context.id` is the id as far as there was one
 */
export function decodeOffload(bytes: Buffer, tenant: string, arrivedAt: number): IncomingOffload {
  let request: ReturnType<typeof OffloadRequest.decode>;
  try {
    request = OffloadRequest.decode(bytes);
  } catch (error) {
    throw bad('', `it is not a valid OffloadRequest: ${messageOf(error)}`);
  }
  const { id, taskDigest, input, budgetMs, priority } = request;
  if (!isOffloadId(id)) throw bad('', 'its id is not 1 to 128 printable ASCII characters without spaces');
  if (!isDigest(taskDigest))
    throw bad(id, 'its task is not a valid digest: it must be "sha256:" and 64 hexadecimal digits');
  if (!(budgetMs > 0 && budgetMs <= MAX_BUDGET_MS))
    throw bad(id, `its budget is not above 0 and at most ${MAX_BUDGET_MS} ms`);
  if (priority > MAX_PRIORITY) throw bad(id, `its priority is above ${MAX_PRIORITY}`);
  const isolation = isolationFrom(request.isolation);
  if (isolation === undefined) throw bad(id, 'its isolation is neither "any" nor "vm"');
  const deadline = new Deadline(budgetMs, arrivedAt);
  return { tenant, id, taskDigest, input: asBuffer(input), isolation, deadline, priority };
}

export function encodeResult(id: string, result: TaskResult, broker: string, heldMs: number): Uint8Array {
  return encodeInPlace(OffloadReply, { id, result: { ...result, broker }, heldMs }, result.output.length);
}

export function encodeRefusal(id: string, refusal: Refusal, heldMs: number): Uint8Array {
  return OffloadReply.encode({ id, refusal, heldMs }).finish();
}

export interface Announcement {
  readonly broker: string;
  readonly tasks: readonly {
    readonly digest: string;
    readonly name: string;
    readonly version: string;
    readonly maxInput: number;
    readonly maxOutput: number;
  }[];
  readonly isolations: readonly string[];
  readonly maxInput: number;
}

/** Protocol version 1. */
export function encodeAnnouncement({ broker, tasks, isolations, maxInput }: Announcement): Uint8Array {
  return ServiceAnnouncement.encode({
    version: 1,
    broker,
    tasks: [...tasks],
    isolations: [...isolations],
    maxInput,
  }).finish();
}

function bad(id: string, what: string): KerbError {
  return new KerbError(ErrorCode.BadOffloadRequest, `the offload request cannot be used: ${what}`, { id });
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

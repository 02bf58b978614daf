/**
 * V2E messages in and out (shared/protocol/v2e.proto). Hot path: checked by hand; the input is a view of what the socket
 * delivered, and the one copy on the way out is into the encoded reply.
 */
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { encodeInPlace } from '../../shared/protocol/v2e-encode.ts';
import { isDigest } from '../../shared/task-package/format.ts';
import type { TaskResult } from '../offloads/result-store.ts';

const { OffloadRequest, OffloadReply, ServiceAnnouncement } = kerbside.v2e.v1;

/** Printable ASCII without spaces: it stands in keys and log lines. */
const OFFLOAD_ID = /^[\x21-\x7e]{1,128}$/;
const MAX_BUDGET_MS = 3_600_000;
const MAX_PRIORITY = 1000;

export interface DecodedOffload {
  readonly id: string;
  readonly packageDigest: string;
  readonly input: Buffer;
  readonly budgetMs: number;
  readonly priority: number;
  /** The caller takes no other isolation than `vm`. */
  readonly demandsVm: boolean;
}

/** @throws KerbError BadOffloadRequest; `context.id` is the id as far as there was one */
export function decodeOffload(bytes: Buffer): DecodedOffload {
  let request: ReturnType<typeof OffloadRequest.decode>;
  try {
    request = OffloadRequest.decode(bytes);
  } catch (error) {
    throw bad('', `it is not a valid OffloadRequest: ${messageOf(error)}`);
  }
  const { id, taskDigest, input, budgetMs, priority, isolation } = request;
  if (!OFFLOAD_ID.test(id)) throw bad('', 'its id is not 1 to 128 printable ASCII characters without spaces');
  if (!isDigest(taskDigest))
    throw bad(id, 'its task is not a valid digest: it must be "sha256:" and 64 hexadecimal digits');
  if (!(budgetMs > 0 && budgetMs <= MAX_BUDGET_MS))
    throw bad(id, `its budget is not above 0 and at most ${MAX_BUDGET_MS} ms`);
  if (priority > MAX_PRIORITY) throw bad(id, `its priority is above ${MAX_PRIORITY}`);
  if (!['', 'any', 'vm'].includes(isolation)) throw bad(id, 'its isolation is neither "any" nor "vm"');
  return { id, packageDigest: taskDigest, input: asBuffer(input), budgetMs, priority, demandsVm: isolation === 'vm' };
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

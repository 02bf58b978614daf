/**
 * V2E messages in and out (shared/protocol/v2e.proto). Hot path: checked by hand; the input is a view of what the socket
 * delivered, and the one copy on the way out is into the encoded reply.
 */
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { quoted } from '../../shared/base/quoted.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import { isTenant, type VehiclePrincipal } from '../../shared/identity/identity.ts';
import { type Payload, payloadFrom } from '../../shared/protocol/chunks.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { V2E_FEATURES, V2E_VERSIONS } from '../../shared/protocol/greeting.ts';
import { isOffloadId, isolationFrom } from '../../shared/protocol/offload-request.ts';
import { reasonOf } from '../../shared/protocol/refusal-reason.ts';
import { classOfPriority, SERVICE_CLASSES } from '../../shared/protocol/service-class.ts';
import { encodeInPlace } from '../../shared/protocol/v2e-encode.ts';
import { isDigest } from '../../shared/task-package/format.ts';
import type { AnyOffload, OffloadTerms, SessionReference, TaskResult } from '../offloads/offload.ts';
import { isStateKey } from '../state/state-types.ts';

const { OffloadRequest, OffloadReply, ServiceAnnouncement } = kerbside.v2e;

const MAX_BUDGET_MS = 3_600_000;
const MAX_PRIORITY = 1000;
const MAX_KEEP_MS = 86_400_000;
/** Version 1 promised this for every result. */
const VERSION_1_KEEP_MS = 60_000;
/** https://www.w3.org/TR/trace-context/#traceparent-header */
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

export interface V2eClient extends Pick<VehiclePrincipal, 'tenant' | 'id'> {
  /** Of the protocol, as both ends speak it. */
  readonly version: number;
}

/**
 * @param arrivedAt `performance.now()` when its last byte was here
 * @throws KerbError BadOffloadRequest | NotSupported; `context.id` is the id as far as there was one
 */
export function decodeOffload(bytes: Buffer, client: V2eClient, arrivedAt: number): AnyOffload {
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
  const terms = client.version < 2 ? termsOfVersion1(priority) : termsOf(request);
  const state = client.version < 2 ? undefined : stateOf(request);
  const { tenant, id: vehicle } = client;
  const offload = { tenant, vehicle, id, taskDigest, isolation, deadline, priority, state, ...terms };
  const payload = client.version < 2 ? undefined : announcedPayload(request);
  if (payload === undefined) return { ...offload, input: asBuffer(input) };
  return { ...offload, input: { length: payload.size }, inputDigest: asBuffer(payload.sha256).toString('base64') };
}

function announcedPayload({ id, input, chunked }: WireOffload): Payload | undefined {
  if (chunked != null && input.length > 0) throw bad(id, 'it has an input, and announces one in chunks');
  try {
    return payloadFrom(chunked);
  } catch (error) {
    throw bad(id, `its input is not announced well: ${messageOf(error)}`);
  }
}

type WireOffload = ReturnType<typeof OffloadRequest.decode>;

function termsOfVersion1(priority: number): OffloadTerms {
  const serviceClass = classOfPriority(priority);
  const keepMs = VERSION_1_KEEP_MS;
  return { serviceClass, keepMs, durable: false, dwellMs: Infinity, wantReceipt: false, traceparent: '' };
}

function termsOf(request: WireOffload): OffloadTerms {
  const { id, priority, serviceClass: wireClass, keepMs, durable, dwellMs, wantReceipt, traceparent } = request;
  const lacking = unsupportedNeed(request);
  if (lacking !== '') {
    const message = `the offload needs ${lacking}, which this broker does not do; use another broker`;
    throw new KerbError(ErrorCode.NotSupported, message, { id });
  }
  // 0: not given; the others are the classes in their order.
  const serviceClass = wireClass === 0 ? classOfPriority(priority) : SERVICE_CLASSES[wireClass - 1];
  if (serviceClass === undefined)
    throw bad(id, `its class ${wireClass} is not valid: it must be 0 to ${SERVICE_CLASSES.length}`);
  if (keepMs > MAX_KEEP_MS) throw bad(id, `keep_ms is above ${MAX_KEEP_MS}, a day`);
  if (!(dwellMs >= 0)) throw bad(id, 'dwell_ms is not 0 or more');
  if (traceparent !== '' && !TRACEPARENT.test(traceparent)) throw bad(id, 'its traceparent is not one of W3C');
  return {
    serviceClass,
    keepMs,
    durable: keepMs > 0 && (durable ?? true),
    dwellMs: dwellMs === 0 ? Infinity : dwellMs,
    wantReceipt,
    traceparent,
  };
}

/** The first thing that must not be left out and is not done here; empty: none. */
function unsupportedNeed({ needs, pipeline, principal }: WireOffload): string {
  const known: readonly string[] = V2E_FEATURES;
  for (const need of needs) if (!known.includes(need)) return quoted(need, 32);
  if (pipeline.length > 0) return '"pipeline"';
  return principal == null ? '' : 'a stated principal';
}

function stateOf({ id, state }: WireOffload): SessionReference | undefined {
  if (state == null) return undefined;
  const { home, key, tenant } = state;
  if (!isStateKey(home ?? '')) throw bad(id, 'the home of its state is not the id of a broker');
  if (!isStateKey(key ?? ''))
    throw bad(id, 'the key of its state is not 1 to 128 printable ASCII characters without spaces');
  if (tenant && !isTenant(tenant)) throw bad(id, 'the tenant of its state is not a valid name');
  return { home: home!, key: key!, tenant: tenant ?? '' };
}

export function encodeResult(id: string, result: TaskResult, broker: string, heldMs: number): Uint8Array {
  return encodeInPlace(OffloadReply, { id, result: { ...result, broker }, heldMs }, result.output.length);
}

/** The output follows in chunks. */
export function encodeLargeResult(
  id: string,
  result: TaskResult,
  chunked: Payload,
  broker: string,
  heldMs: number,
): Uint8Array {
  const { output: _, ...rest } = result;
  return OffloadReply.encode({ id, result: { ...rest, chunked, broker }, heldMs }).finish();
}

export function encodeRefusal(id: string, refusal: Refusal, heldMs: number): Uint8Array {
  return OffloadReply.encode({ id, refusal: withReason(refusal), heldMs }).finish();
}

/** As the wire has it: metrics at the other end count by `reason`. */
export function withReason(refusal: Refusal): Refusal & { readonly reason: string } {
  return { ...refusal, reason: reasonOf(refusal.code) };
}

export interface Announcement {
  readonly broker: string;
  readonly tasks: readonly {
    readonly digest: string;
    readonly name: string;
    readonly version: string;
    readonly maxInput: number;
    readonly maxOutput: number;
    /** From version 2. */
    readonly hasState?: boolean;
  }[];
  readonly isolations: readonly string[];
  readonly maxInput: number;
  /** How long a small offload would wait now, in milliseconds. */
  readonly queueMs: number;
  readonly freeTenders: number;
}

/** @param version that both ends speak */
export function encodeAnnouncement(announcement: Announcement, version: number): Uint8Array {
  const { broker, tasks, isolations, maxInput, queueMs, freeTenders } = announcement;
  const greeting = { versions: [...V2E_VERSIONS], features: [...V2E_FEATURES] };
  const ofVersion2 = version < 2 ? {} : { ...greeting, queueMs, freeTenders };
  return ServiceAnnouncement.encode({
    version,
    broker,
    tasks: [...tasks],
    isolations: [...isolations],
    maxInput,
    ...ofVersion2,
  }).finish();
}

function bad(id: string, what: string): KerbError {
  return new KerbError(ErrorCode.BadOffloadRequest, `the offload request cannot be used: ${what}`, { id });
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

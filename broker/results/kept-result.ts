import type { KeptItem } from '../../shared/base/once/kept-set.ts';
import { sameBytes } from '../../shared/base/once/once.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import {
  type AnnouncedOffload,
  type PendingOffload,
  type SignedReceipt,
  stateText,
  type TaskResult,
  withOwnMemory,
} from '../offloads/offload.ts';
import { digestAtOnce } from './input-hash.ts';
import type { ResultToStore, StoredResult, StoredRow } from './stored-result.ts';

/** Times of a run in milliseconds, and what it used. */
export interface RunFacts {
  /** Since 1970. */
  readonly startedAt: number;
  readonly queueMs: number;
  readonly startMs: number;
  readonly runMs: number;
  readonly cpuMs: number;
  readonly peakMemory: number;
}

/** Bytes of a result beside its output: of its entry, and of a receipt. Both count, so that many small ones are bounded too. */
const ENTRY_BYTES = 512;
const RECEIPT_BYTES = 1536;

/** A result that is kept; `owner` is its tenant, `bytes` what it counts for. */
export interface KeptResult extends KeptItem {
  bytes: number;
  /** Of the output. */
  readonly size: number;
  readonly vehicle: string;
  readonly id: string;
  readonly task: string;
  readonly isolation: string;
  /** The key that it was run with; empty: without one. */
  readonly state: string;
  keepMs: number;
  expiresAt: number;
  /** The input, or its SHA-256 as base64 once that is known. */
  input: Uint8Array | string;
  /** Undefined: it is on the disk. */
  content: KeptContent | undefined;
  /** While it is read. */
  reading: Promise<KeptContent | undefined> | undefined;
}

export interface KeptContent {
  readonly output: Buffer;
  readonly facts: RunFacts;
  receipt: SignedReceipt | undefined;
}

interface Ended {
  readonly pending: PendingOffload;
  readonly result: TaskResult;
  /** Of `performance.now()`. */
  readonly startedAt: number;
  readonly keepMs: number;
}

/** @param now of `performance.now()` */
export function keptFrom(from: StoredRow | Ended | ForwardedResult, now: number): KeptResult {
  if ('pending' in from) return keptFromRun(from, now);
  return 'result' in from ? keptFromNeighbour(from, now) : keptFromRow(from, now);
}

function keptFromRun({ pending, result, startedAt, keepMs }: Ended, now: number): KeptResult {
  const { key, tenant: owner, vehicle, id, taskDigest: task, input } = pending;
  const { output, queueMs, startMs, runMs, cpuMs, peakMemory, isolation } = withOwnMemory(result);
  const facts = { startedAt: Date.now() - (now - startedAt), queueMs, startMs, runMs, cpuMs, peakMemory };
  return {
    ...{ key, owner, vehicle, id, task, isolation, keepMs },
    state: stateText(pending.state),
    input: digestAtOnce(pending) ?? input,
    size: output.length,
    bytes: output.length + ENTRY_BYTES,
    keptAt: now,
    expiresAt: now + keepMs,
    onDisk: false,
    content: { output, facts, receipt: undefined },
    reading: undefined,
  };
}

function keptFromRow(row: StoredRow, now: number): KeptResult {
  const { key, tenant: owner, task, isolation, inputSha256: input, size, keepMs, expiresAt } = row;
  const [, vehicle = '', id = ''] = key.split('\n');
  // However the clock was set: never for longer than it was to be kept.
  const left = Math.min(keepMs, Math.max(0, expiresAt - Date.now()));
  return {
    ...{ key, owner, vehicle, id, task, isolation, keepMs, input, size },
    // One with state is kept where its state is.
    state: '',
    bytes: size + ENTRY_BYTES,
    keptAt: now - (keepMs - left),
    expiresAt: now + left,
    onDisk: true,
    content: undefined,
    reading: undefined,
  };
}

/** A result that another broker has sent, for a vehicle that has claimed it. */
export interface ForwardedResult {
  readonly tenant: string;
  readonly vehicle: string;
  readonly id: string;
  readonly taskDigest: string;
  /** Base64. */
  readonly inputSha256: string;
  readonly result: TaskResult;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly keepMs: number;
  readonly durable: boolean;
}

function keptFromNeighbour(from: ForwardedResult, now: number): KeptResult {
  const { tenant: owner, vehicle, id, taskDigest: task, inputSha256: input, result, startedAt, keepMs } = from;
  const { output, isolation, queueMs, startMs, runMs, cpuMs, peakMemory, receipt } = result;
  const facts = { startedAt, queueMs, startMs, runMs, cpuMs, peakMemory };
  return {
    ...{ key: `${owner}\n${vehicle}\n${id}`, owner, vehicle, id, task, isolation, keepMs, input },
    // Neighbours keep no state, so none is run with one there.
    state: '',
    size: output.length,
    bytes: output.length + ENTRY_BYTES + (receipt === undefined ? 0 : RECEIPT_BYTES),
    keptAt: now,
    expiresAt: now + keepMs,
    onDisk: false,
    content: { output, facts, receipt },
    reading: undefined,
  };
}

/** True: it is the result of the offload that is announced. */
export function isSameAs(item: KeptResult, { taskDigest, inputDigest, isolation, state }: AnnouncedOffload): boolean {
  if (item.state !== stateText(state) || item.task !== taskDigest || item.input !== inputDigest) return false;
  return isolation !== 'vm' || item.isolation === 'vm';
}

/** @param digest of the input, which is here itself while the hash of the kept one is being made */
export function matches({ input: known }: KeptResult, input: { readonly length: number }, digest: string): boolean {
  if (typeof known === 'string') return known === digest;
  return input instanceof Uint8Array && sameBytes(known, input);
}

/** Only when the digest of the input is known. */
export function rowOf(item: KeptResult, { output, facts, receipt }: KeptContent): ResultToStore {
  const { key, owner: tenant, task, isolation, size, keepMs, expiresAt } = item;
  return {
    ...{ key, tenant, task, isolation, size, keepMs, output },
    inputSha256: item.input as string,
    expiresAt: Math.round(Date.now() + expiresAt - performance.now()),
    facts: JSON.stringify(facts),
    receipt: receipt && kerbside.v2e.SignedReceipt.encode(receipt).finish(),
  };
}

/** Undefined: what was written cannot be understood. */
export function contentFrom({ facts, receipt, output }: StoredResult): KeptContent | undefined {
  try {
    return {
      output: Buffer.from(output.buffer as ArrayBuffer, output.byteOffset, output.byteLength),
      facts: JSON.parse(facts) as RunFacts,
      receipt: receipt && kerbside.v2e.SignedReceipt.decode(receipt),
    };
  } catch {
    return undefined;
  }
}

/** Only before it is kept. */
export function addReceipt(item: KeptResult, receipt: SignedReceipt | undefined): void {
  if (receipt === undefined || item.content === undefined) return;
  item.content.receipt = receipt;
  item.bytes += RECEIPT_BYTES;
}

/** From its completion on, whatever it was to be kept for. Only before it is kept. */
export function keepFor(item: KeptResult, keepMs: number): void {
  item.keepMs = keepMs;
  item.expiresAt = item.keptAt + keepMs;
}

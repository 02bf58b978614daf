/** The types of an offload from its arrival at this broker to its answer. */
import type { Deadline } from '../../shared/base/deadline.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import type { RoutedOffload } from '../../shared/protocol/offload-request.ts';
import type { ServiceClass } from '../../shared/protocol/service-class.ts';
import type { TaskState } from '../../shared/task-package/format.ts';
import type { TenderPool } from '../tenders/pool/pool.ts';

/** The state of a session that an offload goes with. */
export interface SessionReference {
  /** Id of the broker that keeps it. */
  readonly home: string;
  readonly key: string;
  /** Whose key it is; empty: the caller's own. */
  readonly tenant: string;
}

/** As it came in; its data is checked already. The deadline begins when its last byte was here. */
export interface IncomingOffload extends RoutedOffload, OffloadTerms {
  /** From the certificate, never a field. */
  readonly tenant: string;
  readonly vehicle: string;
  readonly input: Buffer;
  /** Undefined: it has none. */
  readonly state?: SessionReference | undefined;
  /** SHA-256 of the input, as base64, where it is known: that of one that came in chunks. */
  readonly inputDigest?: string;
}

/** One whose input is to come in chunks: so far only its size and hash are known. */
export interface AnnouncedOffload extends Omit<IncomingOffload, 'input' | 'inputDigest'> {
  readonly input: { readonly length: number };
  readonly inputDigest: string;
}

/** With its input, or with the size and hash of one that is to come. */
export type AnyOffload = IncomingOffload | AnnouncedOffload;

export function isAnnounced(offload: AnyOffload): offload is AnnouncedOffload {
  return !(offload.input instanceof Uint8Array);
}

/** The terms of one offload, as a caller of version 2 gives them. */
export interface OffloadTerms {
  /** As it was asked for; the policy may cap it. */
  readonly serviceClass: ServiceClass;
  /** Milliseconds that the result is kept for a caller that is away; 0: cancelled when the link is lost. */
  readonly keepMs: number;
  /** A kept result survives the death of this broker. */
  readonly durable: boolean;
  /** Milliseconds that the caller expects to stay in reach, from its arrival; Infinity: not known. */
  readonly dwellMs: number;
  readonly wantReceipt: boolean;
  /** W3C Trace Context; empty: none. */
  readonly traceparent: string;
}

/** The connection that a caller came by; compared, never looked into. */
export type Link = object;

/** A caller that waits for the answer of an offload: several may wait for the same. */
export interface Caller {
  readonly answer: Answer;
  readonly deadline: Deadline;
  readonly keepMs: number;
  readonly link: Link | undefined;
  /** Rings when its own time is over; only where another one waits for longer. */
  timer: NodeJS.Timeout | undefined;
}

/** One that waits or runs, for all its callers. */
export interface PendingOffload extends IncomingOffload {
  /** Tenant, vehicle and id. */
  readonly key: string;
  /** That of the caller who waits longest. */
  deadline: Deadline;
  readonly callers: Caller[];
  /** The links of those callers who want no result after their loss. */
  readonly links: Link[];
  /** The tender in its pool that runs it; 0: none does. */
  tender: number;
  /** No caller waits for it any more; its run, if there is one, is of no use. */
  over: boolean;
  /** With state: the input behind its value, the version of that, and how often it has been handed to a tender so. */
  framed?: Buffer;
  stateVersion?: number;
  stateRuns?: number;
}

export interface StatefulOffload extends PendingOffload {
  readonly state: SessionReference;
}

/** The same key or none; another one makes it another offload. */
export function stateText(state: SessionReference | undefined): string {
  return state === undefined ? '' : `${state.tenant}\n${state.key}`;
}

/** The result of one run of a task. Times in milliseconds. */
export interface TaskResult {
  readonly output: Buffer;
  readonly queueMs: number;
  /** Until the task ran and from its end on: handing over, and starting a tender where there was none. */
  readonly startMs: number;
  readonly runMs: number;
  readonly cpuMs: number;
  /** Bytes of its own memory that the guest had in use. */
  readonly peakMemory: number;
  readonly isolation: string;
  /** It comes from the results that are kept: this caller's request did not run it. */
  readonly kept?: boolean;
  /** It is on the disk. */
  readonly durable?: boolean;
  readonly receipt?: SignedReceipt;
}

/** As it crosses the wire (shared/protocol/v2e.proto). */
export interface SignedReceipt {
  readonly receipt: Uint8Array;
  readonly signature: Uint8Array;
  readonly certificate: Uint8Array;
  readonly leaf: number;
  readonly leaves: number;
  readonly path: Uint8Array[];
}

/** The same result, to be kept: a small view of a large buffer would keep all of that alive. */
export function withOwnMemory(result: TaskResult): TaskResult {
  const { output } = result;
  if (output.buffer.byteLength <= 2 * output.length + 64) return result;
  return { ...result, output: Buffer.from(Uint8Array.from(output).buffer) };
}

/** The task of an offload that is claimed; its input, or the SHA-256 of it as base64. */
export interface ClaimedTask {
  readonly taskDigest: string;
  readonly input: Uint8Array | string;
}

/** Times of a run that gave no result: for the audit log, never for the wire. */
export type RunUse = Pick<TaskResult, 'queueMs' | 'runMs' | 'cpuMs' | 'isolation'>;

/** Why there is no result although it was run. */
export interface FailedRun extends Refusal {
  readonly run: RunUse;
}

/** Called exactly once, with one of both; the refusal of one that was run is a `FailedRun`. */
export type Answer = (result: TaskResult | undefined, refusal: Refusal | undefined) => void;

/** A task that this broker can run. */
export interface Runnable {
  readonly digest: string;
  readonly name: string;
  /** Of its caller. */
  readonly maxInput: number;
  /** It takes the state of a session. */
  readonly state?: TaskState | undefined;
  /** Bytes that a tender of it may come to hold, as its package declares. */
  readonly memory: number;
  readonly pool: TenderPool;
  readonly mayRun: (tenant: string) => boolean;
  readonly maySee: (tenant: string) => boolean;
  /** Why its tenders were ended in the middle of their calls. */
  endedBy?: Refusal;
}

/** A task that this broker had, and must not run. */
export interface WithdrawnTask extends Pick<Runnable, 'digest' | 'name' | 'maySee'> {
  readonly why: Refusal;
}

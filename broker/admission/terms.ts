/** The types between admission and its users. */
import type { Deadline } from '../../shared/base/deadline.ts';
import type { ServiceClass } from '../../shared/protocol/service-class.ts';
import type { QueueLimits } from './queue-room.ts';
import type { RunLimits } from './runs.ts';

/** The properties of an offload that admission decides by. Times in milliseconds of one monotonic clock. */
export interface Waiting {
  readonly taskDigest: string;
  readonly tenant: string;
  readonly vehicle: string;
  /** As its tenant may have it. */
  readonly serviceClass: ServiceClass;
  /** It begins with the arrival; when it is over, no caller waits for the answer. */
  readonly deadline: Deadline;
  /** How long the vehicle stays in reach, from the arrival; Infinity: not known. */
  readonly dwellMs: number;
  /** Bytes that it keeps in memory while it waits. */
  readonly input: { readonly length: number };
}

export interface AdmissionLimits extends QueueLimits, RunLimits {
  /** Milliseconds of every budget that are kept for the answer's way back. */
  readonly wayBackMs: number;
}

/** The tenants' policy, as far as it concerns the order. Asked each time, because it may change. */
export interface OrderRules {
  weightOf(tenant: string): number;
  /** The least part of the time, 0 to 1, that a class gets while it waits. */
  readonly classShares: Readonly<Record<ServiceClass, number>>;
}

/** The tenders of a package, as far as they matter to who waits for one. */
export interface TenderOutlook {
  /** Those that take calls, now or after the one that they have. */
  readonly ready: number;
  /** Those that it may have. */
  readonly most: number;
  /** How long one takes to start, in milliseconds. */
  readonly startMs: number;
}

export interface AdmissionOptions<T> {
  readonly limits: AdmissionLimits;
  readonly tenants?: OrderRules;
  readonly tendersOf?: (taskDigest: string) => TenderOutlook;
  /** Told of every entry that is dropped: its time ran out while it waited, or what is left is not enough for a run. */
  readonly onDropped: (entry: T, waitedMs: number) => void;
  /** Told of every entry whose run has gone on for `longRunMs`, while others wait, and has given its slot back. */
  readonly onLong?: (entry: T) => void;
}

/** How a run ended: in time; too late or ended by its deadline; by a fault of its own; because no caller waited any more. */
export type RunEnd = 'met' | 'missed' | 'failed' | 'cancelled';

import type { Deadline } from '../base/deadline.ts';
import type { PlaceKind } from './place-kind.ts';

/** What an offload may demand of the place where it runs: `any`, or a virtual machine of its own and nothing else. */
export type OffloadIsolation = 'any' | 'vm';

/** One offload: what every hop from the container to the tender knows of it. Each hop extends it by what it adds. */
export interface OffloadRequest {
  /** Chosen by the workload; the same id is the same offload. */
  readonly id: string;
  readonly input: Uint8Array;
  readonly isolation: OffloadIsolation;
  readonly deadline: Deadline;
}

/** Between a workload and its OBU. */
export interface NamedOffload extends OffloadRequest {
  /** As the grants of the workload name it. */
  readonly task: string;
}

/** Between the OBU and a place where it may run; `id` is unique within the tenant from here on. */
export interface RoutedOffload extends OffloadRequest {
  /** "sha256:…" of the task package. */
  readonly taskDigest: string;
  /** 0..1000, the priority of the workload on its OBU. */
  readonly priority: number;
  /** Of the session state that it goes with; undefined: none. */
  readonly stateKey?: string;
  /** Kinds of places where it may run; undefined: every kind. */
  readonly kinds?: readonly PlaceKind[] | undefined;
  /** Undefined: any. */
  readonly maxCost?: number | undefined;
}

/** Printable ASCII without spaces: an id stands in keys and log lines. */
const OFFLOAD_ID = /^[\x21-\x7e]{1,128}$/;

export function isOffloadId(text: string): boolean {
  return OFFLOAD_ID.test(text);
}

/** On both wires an empty text is `any`. Undefined: it is neither. */
export function isolationFrom(text: string): OffloadIsolation | undefined {
  if (text === 'vm') return 'vm';
  return text === '' || text === 'any' ? 'any' : undefined;
}

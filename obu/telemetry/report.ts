/** What the rooms of an OBU tell: one sink for all of them, so that nobody needs to know who listens. */
import type { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { BusState } from '../../shared/can/bus.ts';
import type { IdentityState } from '../../shared/identity/identity-watch.ts';
import type { Preempted, WorkloadState } from '../planner/state.ts';

export type ReportedEvent =
  /** A workload has come into this state, or is in it for another reason. */
  | { readonly event: 'workload-state'; readonly workload: string; readonly state: WorkloadState }
  /** The OBU begins to do this. */
  | { readonly event: 'step'; readonly workload: string; readonly step: string; readonly why: string }
  /** A workload has to make room, and had not before. */
  | { readonly event: 'preempted'; readonly workload: string; readonly preempted: Preempted }
  /** A workload did what it may not, and was kept from it, or was refused what it asked for. */
  | { readonly event: 'workload-fault'; readonly workload: string; readonly error: KerbError }
  /** A running container could not be given the CAN interfaces that its workload is granted. */
  | { readonly event: 'interface-fault'; readonly workload: string; readonly error: KerbError }
  /** So many more CAN frames of a container with a CAN interface were denied. */
  | { readonly event: 'can-denied'; readonly workload: string; readonly reason: string; readonly frames: number }
  /** One of them had this id, such as 3EA or 123#R. Not told of each one of a flood. */
  | { readonly event: 'can-denied-id'; readonly workload: string; readonly bus: string; readonly id: string }
  /** The engine stops doing what it is asked, or has ended by itself. */
  | { readonly event: 'engine-fault'; readonly reason: string }
  | { readonly event: 'bus-state'; readonly bus: string; readonly state: BusState }
  /** A bus is not, or no more, simply up. */
  | { readonly event: 'bus-fault'; readonly bus: string; readonly code: ErrorCode; readonly reason: string }
  /** A camera, or what records it, does not work. */
  | { readonly event: 'camera-fault'; readonly source: string; readonly reason: string }
  /** @property path folder of the identity */
  | { readonly event: 'identity-state'; readonly path: string; readonly state: IdentityState }
  /** @property expiresAt milliseconds since 1970 */
  | { readonly event: 'identity-renewed'; readonly expiresAt: number }
  /** The API for those who are elsewhere cannot be served; told once for each reason. */
  | { readonly event: 'remote-api-fault'; readonly reason: string }
  /** The state on the disk was damaged, and was put aside. */
  | { readonly event: 'state-damaged'; readonly code: ErrorCode; readonly reason: string }
  | { readonly event: 'manifest-applied'; readonly generation: number; readonly file: string };

/** Never throws. Not for what happens per frame or per offload: those are counted by the meters. */
export type Report = (event: ReportedEvent) => void;

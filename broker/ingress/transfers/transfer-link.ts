import type { Sender } from '../limits/senders.ts';
import type { ConnectedVehicle } from '../link-types.ts';

/** One connection of a vehicle, as transfers need it. */
export interface TransferLink {
  readonly client: ConnectedVehicle | undefined;
  readonly sender: Sender | undefined;
  readonly isServed: boolean;
  /** Little of what was written to it is still on this side; `Transfers.drained` is called when that comes true. */
  readonly canWrite: boolean;
  write(event: 'chunk' | 'credit', bytes: Uint8Array): void;
}

/** Whatever their size and number: what bounds them further are the limits of tenants. */
export interface TransferLimits {
  /** Inputs of one vehicle that come at the same time. The others wait for credit, and hold no memory. */
  readonly activePerVehicle: number;
  /** Inputs of one vehicle that are announced and not whole. */
  readonly openPerVehicle: number;
  /** Inputs that are kept for a vehicle that is away. */
  readonly keptPerVehicle: number;
  /** Callers of one input. */
  readonly maxJoined: number;
  /** Memory of inputs that are not whole, over all tenants; one tenant may have half of it. A single input may always come. */
  readonly maxBytes: number;
  /** A transfer on which nothing moves for so many milliseconds is ended, */
  readonly stallMs: number;
  /** and one whose connection is lost is kept for this long. */
  readonly resumeMs: number;
}

export const TRANSFER_LIMITS: Omit<TransferLimits, 'maxBytes' | 'maxJoined'> = {
  activePerVehicle: 4,
  openPerVehicle: 256,
  keptPerVehicle: 4,
  stallMs: 10_000,
  resumeMs: 30_000,
};

import type { CanFrame } from './frame.ts';

/** The transport of the frames: the kernel's SocketCAN, or Kerbside's own userspace bus process. */
export type BusKind = 'socketcan' | 'userspace';

/**
 * `Warning` and `Passive`: it carries frames, and its controller has counted many errors (ISO 11898-1, fault
 * confinement). `BusOff`: its controller has taken itself off the bus. `Down`: there is no bus to speak to.
 */
export type BusState =
  | { readonly state: 'Up' }
  | { readonly state: 'Warning' | 'Passive' | 'BusOff' | 'Down'; readonly reason: string };

/** Why a bus is not simply up; empty when it is. */
export function reasonOf(state: BusState): string {
  return state.state === 'Up' ? '' : state.reason;
}

export interface BusStats {
  readonly framesReceived: number;
  readonly framesSent: number;
  /** Frames that are known to be lost: before we saw them, or after we handed them over. */
  readonly framesDropped: number;
  /** Error frames of the controller, which are no frames of the bus. */
  readonly errorFrames: number;
  /** Bits on the wire so far, both directions, stuff bits estimated; for the bus load. */
  readonly bits: number;
}

/**
 * One CAN bus as one program sees it. A frame that this program sends reaches every other program on the bus, and not
 * its own subscribers (as CAN_RAW does by default).
 */
export interface CanBus {
  readonly name: string;
  readonly kind: BusKind;
  /** Attaches to the bus. @throws KerbError BusUnavailable */
  start(): Promise<void>;
  /** Detaches; safe to call twice and during `start()`. */
  stop(): Promise<void>;
  /** Hands the frame to the bus. @throws KerbError BusWriteFailed | BusDown | BadCanFrame */
  send(frame: CanFrame): void;
  /** Every frame from the bus, in order, error frames among them. Returns the function that ends it. */
  subscribe(listener: (frame: CanFrame) => void): () => void;
  /** Called with the new state each time it changes. */
  onState(listener: (state: BusState) => void): () => void;
  readonly state: BusState;
  readonly stats: BusStats;
}

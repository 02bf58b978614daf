import type { CanFrame } from '../../shared/can/frame.ts';

/** What carries the frames: the kernel's SocketCAN, or Kerbside's own userspace bus process. */
export type BusKind = 'socketcan' | 'userspace';

export type BusState = { readonly state: 'Up' } | { readonly state: 'Down'; readonly reason: string };

export interface BusStats {
  readonly framesReceived: number;
  readonly framesSent: number;
  /** Frames that the bus knows it lost before we saw them. */
  readonly framesDropped: number;
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
  /** Every frame from the bus, in order. Returns the function that ends it. */
  subscribe(listener: (frame: CanFrame) => void): () => void;
  /** Called with the new state each time it changes. */
  onState(listener: (state: BusState) => void): () => void;
  readonly state: BusState;
  readonly stats: BusStats;
}

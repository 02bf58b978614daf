/**
 * One CAN frame as it is on the bus, classical or FD (ISO 11898-1). Frames are values: nobody changes one after it was
 * made, so it may be handed to many consumers without a copy.
 */
export interface CanFrame {
  /** 11 bits, or 29 when `ext`. Flags are never part of the id. */
  readonly id: number;
  /** 29-bit identifier. */
  readonly ext: boolean;
  /** Remote frame: `data` then only tells the length asked for, its bytes are zero. */
  readonly rtr: boolean;
  /** CAN FD frame. */
  readonly fd: boolean;
  /** FD only: data phase at the higher bit rate. */
  readonly brs: boolean;
  /** FD only: the sender is error passive. */
  readonly esi: boolean;
  /** Error frame of the driver (linux/can/error.h); never sent by us. */
  readonly err: boolean;
  /** 0..8 bytes, or for FD 0..8, 12, 16, 20, 24, 32, 48, 64. */
  readonly data: Uint8Array;
  /** Microseconds since 1970 (UTC) when the frame was received or made; 0 when unknown. */
  readonly timeUs: number;
}

import { ErrorCode, KerbError } from '../base/errors.ts';

/**
 * One CAN frame as it is on the bus, classical or FD (ISO 11898-1). Frames are values: nobody changes one after it was
 * made, so it may be handed to many consumers without a copy.
 */
export interface CanFrame {
  /** 11 bits, or 29 when `ext`. Flags are never part of the id. For an error frame: its error class bits. */
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
  /** FD only: Linux's flag FDF was set, which says once more that this is FD. Not on the wire; kept for logs. */
  readonly fdf?: boolean;
  /** Error frame of the driver (linux/can/error.h); never sent by us. */
  readonly err: boolean;
  /** 0..8 bytes, or for FD 0..8, 12, 16, 20, 24, 32, 48, 64. */
  readonly data: Uint8Array;
  /** Microseconds since 1970 (UTC) when the frame was received or made; 0 when unknown. */
  readonly timeUs: number;
}

export const MAX_STANDARD_ID = 0x7ff;
export const MAX_EXTENDED_ID = 0x1fffffff;

/** The bits of `CanFrame.flags` in gateway.proto and in the userspace bus, which alone has `Fdf`. */
export const FrameFlag = { Extended: 1, Remote: 2, Fd: 4, Brs: 8, Esi: 16, Error: 32, Fdf: 64 } as const;
const ALL_FLAGS = 127;

/** The bits that Linux adds to an id in `can_id` (linux/can.h). */
export const CAN_EFF_FLAG = 0x80000000;
export const CAN_RTR_FLAG = 0x40000000;
export const CAN_ERR_FLAG = 0x20000000;

const fdLengths: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];

/** True when a frame can carry exactly this many bytes (ISO 11898-1, table of DLC values). */
export function isFrameLength(length: number, fd: boolean): boolean {
  return fd ? fdLengths.includes(length) : Number.isInteger(length) && length >= 0 && length <= 8;
}

/** The smallest valid CAN FD length that holds `length` bytes, or undefined above 64. */
export function fdLengthFor(length: number): number | undefined {
  return fdLengths.find((valid) => valid >= length);
}

export function flagsOf(frame: CanFrame): number {
  return (
    (frame.ext ? FrameFlag.Extended : 0) |
    (frame.rtr ? FrameFlag.Remote : 0) |
    (frame.fd ? FrameFlag.Fd : 0) |
    (frame.brs ? FrameFlag.Brs : 0) |
    (frame.esi ? FrameFlag.Esi : 0) |
    (frame.err ? FrameFlag.Error : 0) |
    (frame.fdf ? FrameFlag.Fdf : 0)
  );
}

/** `can_id` as Linux writes it: the id with its EFF, RTR and ERR bits, as an unsigned 32-bit number. */
export function linuxIdOf(frame: CanFrame): number {
  return (
    (frame.id | (frame.ext ? CAN_EFF_FLAG : 0) | (frame.rtr ? CAN_RTR_FLAG : 0) | (frame.err ? CAN_ERR_FLAG : 0)) >>> 0
  );
}

/** The name of an id for people: three hex digits, or eight when it is extended. */
export function formatCanId(id: number, ext: boolean): string {
  return id
    .toString(16)
    .toUpperCase()
    .padStart(ext ? 8 : 3, '0');
}

/**
 * Why a frame of these parts can't be on a bus, or undefined when it can. Takes parts and not a frame, so that codecs
 * can ask before they allocate one.
 */
export function frameFault(id: number, flags: number, length: number): string | undefined {
  if ((flags & ~ALL_FLAGS) !== 0 || !Number.isInteger(flags)) return `flags ${flags} have unknown bits`;
  const extended = (flags & FrameFlag.Extended) !== 0;
  const fd = (flags & FrameFlag.Fd) !== 0;
  if ((flags & FrameFlag.Error) !== 0) {
    if ((flags & ~FrameFlag.Error) !== 0) return 'an error frame has no other flags';
    if (!Number.isInteger(id) || id < 0 || id > MAX_EXTENDED_ID) return `error class ${id} is not within 29 bits`;
    return length === 8 ? undefined : `an error frame has 8 bytes, not ${length}`;
  }
  const max = extended ? MAX_EXTENDED_ID : MAX_STANDARD_ID;
  if (!Number.isInteger(id) || id < 0 || id > max) {
    return `id ${id} is not within ${extended ? '29 bits' : '11 bits; give it as an extended id'}`;
  }
  if (fd && (flags & FrameFlag.Remote) !== 0) return 'CAN FD has no remote frames';
  if (!fd && (flags & (FrameFlag.Brs | FrameFlag.Esi | FrameFlag.Fdf)) !== 0) {
    return 'BRS, ESI and FDF exist in CAN FD frames only';
  }
  if (!isFrameLength(length, fd)) {
    return fd
      ? `${length} bytes are not a valid CAN FD length (0..8, 12, 16, 20, 24, 32, 48, 64)`
      : `${length} bytes do not fit a classical frame (0..8)`;
  }
  return undefined;
}

/**
 * A frame from its parts, checked.
 * @param flags the bits of FrameFlag
 * @throws KerbError BadCanFrame
 */
export function makeFrame(id: number, flags: number, data: Uint8Array, timeUs = 0): CanFrame {
  const fault = frameFault(id, flags, data.length);
  if (fault !== undefined) throw new KerbError(ErrorCode.BadCanFrame, `not a CAN frame: ${fault}`, { id, flags });
  return uncheckedFrame(id, flags, data, timeUs);
}

/** The same without the check, for codecs that have asked `frameFault` already. */
export function uncheckedFrame(id: number, flags: number, data: Uint8Array, timeUs: number): CanFrame {
  return {
    id,
    ext: (flags & FrameFlag.Extended) !== 0,
    rtr: (flags & FrameFlag.Remote) !== 0,
    fd: (flags & FrameFlag.Fd) !== 0,
    brs: (flags & FrameFlag.Brs) !== 0,
    esi: (flags & FrameFlag.Esi) !== 0,
    fdf: (flags & FrameFlag.Fdf) !== 0,
    err: (flags & FrameFlag.Error) !== 0,
    data,
    timeUs,
  };
}

export interface DataFrameOptions {
  /** Default: extended when the id does not fit 11 bits. */
  readonly ext?: boolean;
  readonly fd?: boolean;
  readonly brs?: boolean;
  readonly timeUs?: number;
}

/** A data frame. @throws KerbError BadCanFrame */
export function dataFrame(id: number, data: ArrayLike<number>, options: DataFrameOptions = {}): CanFrame {
  const ext = options.ext ?? id > MAX_STANDARD_ID;
  const flags = (ext ? FrameFlag.Extended : 0) | (options.fd ? FrameFlag.Fd : 0) | (options.brs ? FrameFlag.Brs : 0);
  return makeFrame(id, flags, Uint8Array.from(data), options.timeUs);
}

/** A remote frame that asks for `length` bytes. @throws KerbError BadCanFrame */
export function remoteFrame(id: number, length = 0, options: { ext?: boolean; timeUs?: number } = {}): CanFrame {
  const ext = options.ext ?? id > MAX_STANDARD_ID;
  if (!isFrameLength(length, false)) {
    throw new KerbError(ErrorCode.BadCanFrame, `not a CAN frame: a remote frame asks for 0..8 bytes, not ${length}`);
  }
  return makeFrame(id, FrameFlag.Remote | (ext ? FrameFlag.Extended : 0), new Uint8Array(length), options.timeUs);
}

/** True when two frames are the same on the wire; times are not compared, nor FDF, which the wire does not have. */
export function sameFrame(a: CanFrame, b: CanFrame): boolean {
  const onWire = ~FrameFlag.Fdf;
  if (a.id !== b.id || a.data.length !== b.data.length) return false;
  if ((flagsOf(a) & onWire) !== (flagsOf(b) & onWire)) return false;
  for (let i = 0; i < a.data.length; i++) if (a.data[i] !== b.data[i]) return false;
  return true;
}

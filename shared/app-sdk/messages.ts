import protobuf from 'protobufjs/minimal.js';
import { ErrorCode, KerbError } from '../base/errors.ts';
import { refusalFrom } from '../base/refusal.ts';
import { type CanFrame, frameFault } from '../can/frame.ts';
import { kerbside } from '../protocol/generated/gateway.js';

const wire = kerbside.gateway.v1;

export type ServerMessage = kerbside.gateway.v1.ServerMessage;
export type ClientFields = kerbside.gateway.v1.ClientMessage.$Properties;

/** Frames of one bus in the order in which they were on it. */
export interface CanBatch {
  readonly bus: string;
  readonly frames: readonly CanFrame[];
  /** Of the bus after these frames, when it changed, and at first when it is not up; undefined: as before. */
  readonly state: BusState | undefined;
}

/** `reason` is a sentence for a person, empty when the bus is up. */
export interface BusState {
  readonly state: 'Up' | 'Warning' | 'Passive' | 'BusOff' | 'Down';
  readonly reason: string;
}

/** Integers that no double holds exactly (uint64 and int64 beyond 2^53) are bigints; all others are numbers. */
export type SignalDatum = number | bigint | boolean | string;

/** The value of a leaf; a list where its data type is one, as in `uint8[]`. */
export type LeafValue = SignalDatum | readonly SignalDatum[];

export interface SignalValue {
  /** VSS path of a leaf. */
  readonly path: string;
  readonly value: LeafValue;
  /** Microseconds since 1970 of the frame that carried it, or when its provider had it. */
  readonly timeUs: number;
  /** The name of a bus, of a workload, or of the OBU itself; "default" while nobody has said anything. */
  readonly source: string;
  /** Its source has been silent for too long, and no other has a fresh value: this is only the last one. */
  readonly stale: boolean;
}

export type PictureFormat = 'jpeg' | 'gray8' | 'rgb24';

export interface Picture {
  readonly camera: string;
  /** Counts up by one per picture; a gap is a loss. */
  readonly sequence: number;
  /** Microseconds since 1970 when the OBU had the whole picture. */
  readonly timeUs: number;
  readonly format: PictureFormat;
  readonly width: number;
  readonly height: number;
  /** A JPEG file, or pixels row by row without padding: width*height bytes (gray8) or three times that (rgb24). */
  readonly data: Uint8Array;
}

/** A frame to send; what is left out is false. */
export interface FrameToSend {
  readonly id: number;
  /** 29-bit id; left out: when the id does not fit 11 bits. */
  readonly ext?: boolean;
  readonly fd?: boolean;
  /** FD only: the data at the higher bit rate. */
  readonly brs?: boolean;
  readonly rtr?: boolean;
  /** 0..8 bytes, or for FD 0..8, 12, 16, 20, 24, 32, 48, 64. */
  readonly data: Uint8Array;
}

/** One kind of frame that the workload may send. */
export interface CanWriteGrant {
  readonly id: number;
  readonly ext: boolean;
  /** Undefined: any. */
  readonly length: number | undefined;
  /** Undefined: no limit of its own. */
  readonly maxPerSecond: number | undefined;
}

export interface CanGrant {
  readonly bus: string;
  /** can-utils grammar, "id:mask" and "id~mask". */
  readonly read: readonly string[];
  /** Empty: nothing may be sent. */
  readonly write: readonly CanWriteGrant[];
  /** `interface`: the bus is also a CAN interface of its name in this container. */
  readonly as: 'socket' | 'interface';
  /** Condition over signals that has to hold while the workload writes; undefined: none. */
  readonly when: string | undefined;
}

/** The grants of this workload in the manifest. */
export interface Grants {
  readonly can: readonly CanGrant[];
  /** Scopes, "read:Vehicle.Speed". */
  readonly signals: readonly string[];
  readonly cameras: readonly { readonly name: string; readonly maxFps: number }[];
  readonly offload:
    | { readonly tasks: readonly string[]; readonly maxBudgetMs: number; readonly state: readonly string[] }
    | undefined;
}

/** How an offload was run. Times in milliseconds. */
export interface Receipt {
  /** "broker:rsu-1" */
  readonly place: string;
  readonly taskDigest: string;
  /** "process" or "vm" */
  readonly isolation: string;
  /** Waiting at the place, inside the unikernel, and as the OBU saw the whole. */
  readonly queueMs: number;
  readonly runMs: number;
  readonly totalMs: number;
}

/** The value of a key of session state. */
export interface StateEntry {
  /** Grows with each write. */
  readonly version: number;
  readonly value: Uint8Array;
  /** Milliseconds until it is removed, unless it is written before. */
  readonly expiresInMs: number;
}

export interface OffloadOutcome {
  readonly output: Uint8Array;
  readonly receipt: Receipt;
}

export function encodeClientMessage(message: ClientFields): Uint8Array {
  return wire.ClientMessage.encode(message, protobuf.Writer.create().fork()).ldelim().finish();
}

export function decodeServerMessage(bytes: Uint8Array): ServerMessage {
  return wire.ServerMessage.decode(bytes);
}

/** protobufjs gives 64-bit numbers as Long where that package is there; ours fit a double. */
function toNumber(value: unknown): number {
  return typeof value === 'number' ? value : Number(String(value ?? 0));
}

export function toCanBatch(message: kerbside.gateway.v1.CanFrames.$Properties): CanBatch {
  const frames = (message.frames ?? []).map((frame): CanFrame => {
    const flags = frame.flags ?? 0;
    return {
      id: frame.id ?? 0,
      ext: (flags & 1) !== 0,
      rtr: (flags & 2) !== 0,
      fd: (flags & 4) !== 0,
      brs: (flags & 8) !== 0,
      esi: (flags & 16) !== 0,
      err: (flags & 32) !== 0,
      data: frame.data ?? new Uint8Array(),
      timeUs: toNumber(frame.timeUs),
    };
  });
  const { bus, state, reason } = message;
  return {
    bus: bus ?? '',
    frames,
    state: state ? { state: state as BusState['state'], reason: reason ?? '' } : undefined,
  };
}

/** @throws KerbError BadCanFrame */
export function toWireFrame(frame: FrameToSend): kerbside.gateway.v1.CanFrame.$Properties {
  const { id, ext = id > 0x7ff, rtr, fd, brs, data } = frame;
  const flags = (ext ? 1 : 0) | (rtr ? 2 : 0) | (fd ? 4 : 0) | (brs ? 8 : 0);
  // Here as well as in the OBU: what is no number at all becomes one on the wire.
  const fault = frameFault(id, flags, data.length);
  if (fault !== undefined) throw new KerbError(ErrorCode.BadCanFrame, `not a CAN frame: ${fault}`, { id });
  return { id, flags, data };
}

function toDatum(value: kerbside.gateway.v1.SignalValue.$Properties): SignalDatum {
  if (value.digits) return BigInt(value.digits);
  return value.number ?? value.boolean ?? value.text ?? 0;
}

export function toSignalValue(value: kerbside.gateway.v1.SignalValue.$Properties): SignalValue {
  return {
    path: value.path ?? '',
    value: value.list ? (value.list.values ?? []).map(toDatum) : toDatum(value),
    timeUs: toNumber(value.timeUs),
    source: value.source ?? '',
    stale: value.stale ?? false,
  };
}

export function toSignalValues(message: kerbside.gateway.v1.SignalValues.$Properties): SignalValue[] {
  return (message.values ?? []).map(toSignalValue);
}

export function toWireValue(path: string, value: LeafValue): kerbside.gateway.v1.SignalValue.$Properties {
  // The OBU makes a number of a bigint that a double holds.
  if (typeof value === 'bigint') return { path, number: Number(value), digits: value.toString() };
  if (typeof value === 'object') return { path, list: { values: value.map((one) => toWireValue('', one)) } };
  if (typeof value === 'number') return { path, number: value };
  return typeof value === 'boolean' ? { path, boolean: value } : { path, text: value };
}

const formats: readonly PictureFormat[] = ['jpeg', 'gray8', 'rgb24'];

export function toWireFormat(format: PictureFormat): number {
  return formats.indexOf(format);
}

export function toPicture(message: kerbside.gateway.v1.CameraFrame.$Properties): Picture {
  return {
    camera: message.camera ?? '',
    sequence: toNumber(message.sequence),
    timeUs: toNumber(message.timeUs),
    format: formats[message.format ?? 0] ?? 'jpeg',
    width: message.width ?? 0,
    height: message.height ?? 0,
    data: message.data ?? new Uint8Array(),
  };
}

export function toOutcome(message: kerbside.gateway.v1.OffloadDone.$Properties): OffloadOutcome {
  const receipt = message.receipt ?? {};
  return {
    output: message.output ?? new Uint8Array(),
    receipt: {
      place: receipt.place ?? '',
      taskDigest: receipt.taskDigest ?? '',
      isolation: receipt.isolation ?? '',
      queueMs: receipt.queueMs ?? 0,
      runMs: receipt.runMs ?? 0,
      totalMs: receipt.totalMs ?? 0,
    },
  };
}

export function toGrants(message: kerbside.gateway.v1.Grants.$Properties | null | undefined): Grants {
  const { offload } = message ?? {};
  return {
    can: (message?.can ?? []).map(({ bus, read, write, as, when }) => ({
      bus: bus ?? '',
      read: read ?? [],
      write: (write ?? []).map(({ id, extended, length, anyLength, maxPerSecond }) => ({
        id: id ?? 0,
        ext: extended ?? false,
        length: anyLength ? undefined : (length ?? 0),
        maxPerSecond: maxPerSecond || undefined,
      })),
      as: as === 'interface' ? 'interface' : 'socket',
      when: when || undefined,
    })),
    signals: message?.signals ?? [],
    cameras: (message?.cameras ?? []).map(({ name, maxFps }) => ({ name: name ?? '', maxFps: maxFps ?? 0 })),
    offload: offload
      ? { tasks: offload.tasks ?? [], maxBudgetMs: offload.maxBudgetMs ?? 0, state: offload.state ?? [] }
      : undefined,
  };
}

export function toStateEntry({ version, value, expiresInMs }: kerbside.gateway.v1.StateDone.$Properties): StateEntry {
  return { version: toNumber(version), value: value ?? new Uint8Array(), expiresInMs: toNumber(expiresInMs) };
}

export function droppedOf(message: { dropped?: unknown }): number {
  return toNumber(message.dropped);
}

/** The error that a Failure of the OBU means. */
export function toError(failure: kerbside.gateway.v1.Failure.$Properties): KerbError {
  const { code, message, retryAfterMs } = refusalFrom(failure);
  const context = {
    ...(retryAfterMs > 0 && { retryAfterMs }),
    ...(failure.version != null && { version: toNumber(failure.version) }),
  };
  return new KerbError(code as ErrorCode, message || 'the OBU gave no reason', context);
}

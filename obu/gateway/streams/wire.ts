/**
 * Messages to a container as ready bytes: the length in front, then a ServerMessage of shared/protocol/gateway.proto.
 *
 * Hot path for CAN frames, signals and pictures: fields are written straight into protobufjs' writer instead of through
 * message objects, and the pixels of a picture are never copied here. wire.test.ts holds the result against the
 * generated code.
 */
import protobuf from 'protobufjs/minimal.js';
import type { BusState } from '../../../shared/can/bus.ts';
import { type CanFrame, FrameFlag, flagsOf } from '../../../shared/can/frame.ts';
import { kerbside } from '../../../shared/protocol/generated/gateway.js';
import type { SignalDatum, SignalValue } from '../../../shared/vss/signal.ts';
import { isListValue } from '../../../shared/vss/signal-list.ts';
import type { Picture, PictureFormat } from '../../dashcam/capture/camera.ts';
import type { CanGrant } from '../../manifest/workload.ts';
import { datumFields } from './datum-wire.ts';

const { Writer } = protobuf;
const { ServerMessage, SignalList, PictureFormat: WireFormat } = kerbside.gateway.v1;

export type ServerMessageFields = kerbside.gateway.v1.ServerMessage.$Properties;

/** A protobuf tag: field number and wire type. */
const varint = (field: number) => (field << 3) >>> 0;
const delimited = (field: number) => ((field << 3) | 2) >>> 0;
const fixed64 = (field: number) => ((field << 3) | 1) >>> 0;

/** Any message that is not sent often. */
export function encodeMessage(message: ServerMessageFields): Uint8Array[] {
  return [ServerMessage.encode(message, Writer.create().fork()).ldelim().finish()];
}

export function toWireGrant({ bus, read, write, as, when }: CanGrant): kerbside.gateway.v1.CanGrant.$Properties {
  return {
    bus,
    read: read.map(({ text }) => text),
    as,
    when: when?.text ?? '',
    write: write.map(({ id, ext, length, maxPerSecond }) => ({
      id,
      extended: ext,
      length: length ?? 0,
      anyLength: length === undefined,
      maxPerSecond: maxPerSecond ?? 0,
    })),
  };
}

/** FDF is for one's own records only: gateway.proto has no bit for it. */
const WIRE_FLAGS = ~FrameFlag.Fdf;

/** @param state Told when it changed. */
export function encodeCanFrames(
  request: number,
  bus: string,
  frames: Iterable<CanFrame>,
  dropped: number,
  state?: BusState,
): Uint8Array {
  const writer = Writer.create().fork();
  writer.uint32(varint(1)).uint32(request);
  writer.uint32(delimited(5)).fork();
  writer.uint32(delimited(1)).string(bus);
  for (const frame of frames) {
    writer.uint32(delimited(2)).fork();
    writer.uint32(varint(1)).uint32(frame.id);
    const flags = flagsOf(frame) & WIRE_FLAGS;
    if (flags !== 0) writer.uint32(varint(2)).uint32(flags);
    if (frame.data.length > 0) writer.uint32(delimited(3)).bytes(frame.data);
    writer.uint32(varint(4)).uint64(frame.timeUs);
    writer.ldelim();
  }
  if (dropped > 0) writer.uint32(varint(3)).uint64(dropped);
  if (state !== undefined) {
    writer.uint32(delimited(4)).string(state.state);
    if (state.state !== 'Up') writer.uint32(delimited(5)).string(state.reason);
  }
  return writer.ldelim().ldelim().finish();
}

export function encodeSignalValues(request: number, values: Iterable<SignalValue>, dropped: number): Uint8Array {
  const writer = Writer.create().fork();
  writer.uint32(varint(1)).uint32(request);
  writer.uint32(delimited(6)).fork();
  for (const { path, value, timeUs, source, stale } of values) {
    writer.uint32(delimited(1)).fork();
    writer.uint32(delimited(1)).string(path);
    writer.uint32(varint(2)).uint64(timeUs);
    if (isListValue(value)) writeList(writer, value);
    else if (typeof value === 'number') writer.uint32(fixed64(3)).double(value);
    else if (typeof value === 'bigint') writer.uint32(fixed64(3)).double(Number(value));
    else if (typeof value === 'boolean') writer.uint32(varint(4)).bool(value);
    else writer.uint32(delimited(5)).string(value);
    writer.uint32(delimited(6)).string(source);
    if (stale) writer.uint32(varint(7)).bool(true);
    if (typeof value === 'bigint') writer.uint32(delimited(8)).string(value.toString());
    writer.ldelim();
  }
  if (dropped > 0) writer.uint32(varint(2)).uint64(dropped);
  return writer.ldelim().ldelim().finish();
}

/** Lists are rare: the generated code is fast enough for them. */
function writeList(writer: protobuf.Writer, items: readonly SignalDatum[]): void {
  const list = { values: items.map(datumFields) };
  SignalList.encode(list, writer.uint32(delimited(20)).fork()).ldelim();
}

const wireFormats: Readonly<Record<PictureFormat, number>> = {
  jpeg: WireFormat.JPEG,
  gray8: WireFormat.GRAY8,
  rgb24: WireFormat.RGB24,
};
const formats: readonly PictureFormat[] = ['jpeg', 'gray8', 'rgb24'];

/** The format of a request; undefined for one of a newer protocol. */
export function formatOf(wire: number): PictureFormat | undefined {
  return formats.find((format) => wireFormats[format] === wire);
}

/** The head of the message, and the pixels as they are: shared by everybody who gets this picture. */
export function encodePicture(request: number, picture: Picture, sequence: number, dropped: number): Uint8Array[] {
  const fields = Writer.create();
  fields.uint32(delimited(1)).string(picture.camera);
  fields.uint32(varint(2)).uint64(sequence);
  fields.uint32(varint(3)).uint64(picture.timeUs);
  fields.uint32(varint(4)).int32(wireFormats[picture.format]);
  fields.uint32(varint(5)).uint32(picture.width);
  fields.uint32(varint(6)).uint32(picture.height);
  if (dropped > 0) fields.uint32(varint(8)).uint64(dropped);
  // The picture comes last, so that everything in front of it is one buffer; protobuf allows any order.
  fields.uint32(delimited(7)).uint32(picture.data.length);
  const cameraFrame = fields.finish();

  const message = Writer.create();
  message.uint32(varint(1)).uint32(request);
  message.uint32(delimited(7)).uint32(cameraFrame.length + picture.data.length);
  const head = message.finish();

  const length = Writer.create()
    .uint32(head.length + cameraFrame.length + picture.data.length)
    .finish();
  return [Buffer.concat([length, head, cameraFrame]), picture.data];
}

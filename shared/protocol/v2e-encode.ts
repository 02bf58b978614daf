import protobuf from 'protobufjs/minimal.js';

/** Bytes that are free in front of a message for what the parser writes there: see v2e-parser.ts. */
export const ROOM = 32;
/** For all fields but the payload; a message that needs more is only slower. */
const FIELDS = 1024;

const roomy = new WeakSet<Uint8Array>();

/**
 * Encodes a message that holds one large field of `payloadSize` bytes into memory that was taken once, with room for the
 * parser's header. protobufjs alone takes memory for a mebibyte three times over and copies as often, and the parser once
 * more; what is fresh costs a page fault for each page, and that is most of what an offload of a mebibyte takes.
 */
export function encodeInPlace<T>(
  type: { encode(message: T, writer?: protobuf.Writer): protobuf.Writer },
  message: T,
  payloadSize: number,
): Buffer {
  const writer = protobuf.Writer.create();
  writer.buf = Buffer.allocUnsafe(ROOM + payloadSize + FIELDS);
  writer.view = null;
  writer.pos = ROOM;
  type.encode(message, writer);
  const { buf, pos } = writer;
  const bytes = Buffer.from(buf.buffer, buf.byteOffset + ROOM, pos - ROOM);
  roomy.add(bytes);
  return bytes;
}

/**
 * The `size` bytes in front of an encoded message and the message behind them, as one; undefined when there is no room, or
 * it was taken before, because then another message lies there.
 */
export function takeRoom(message: Uint8Array, size: number): Buffer | undefined {
  if (size > ROOM || !roomy.delete(message)) return undefined;
  return Buffer.from(message.buffer, message.byteOffset - size, size + message.length);
}

/**
 * How socket.io writes V2E messages (its `parser` option, https://socket.io/docs/v4/custom-parser/). Its own parser sends
 * a binary argument as two WebSocket messages, a placeholder in JSON and the bytes: two TLS records and two wake-ups each
 * way. Here an event or an acknowledgement with one binary argument, in the default namespace, is one message:
 *
 *     byte 0     packet type of socket.io: 2 event, 3 acknowledgement
 *     byte 1     length of the event's name; 0 in an acknowledgement
 *     bytes 2–5  id of the acknowledgement, plus one, little endian; 0: none is wanted
 *     then       the event's name, printable ASCII, and the argument
 *
 * Everything else (connecting, errors, other arguments, other namespaces) is as socket.io's own parser writes it.
 *
 * Hot path: one copy of the argument on the way out, none of one that v2e-encode.ts made; a view of the message on the way in.
 */
import { Decoder as CommonDecoder, Encoder as CommonEncoder, isPacketValid, type Packet } from 'socket.io-parser';
import { ErrorCode, KerbError } from '../base/errors.ts';
import { takeRoom } from './v2e-encode.ts';

const EVENT = 2;
const ACK = 3;
const HEADER = 6;
const NAME = /^[\x21-\x7e]{1,255}$/;
const MAX_ID = 2 ** 32 - 2;

class Encoder extends CommonEncoder {
  override encode(packet: Packet): unknown[] {
    const message = encodeMessage(packet);
    return message === undefined ? super.encode(packet) : [message];
  }
}

class Decoder extends CommonDecoder {
  /** Binary messages that still belong to the last one in text. */
  #attachments = 0;

  /** @throws Error (KerbError BadProtocolMessage, or socket.io's own) for what is none; socket.io then ends the connection */
  override add(message: unknown): void {
    if (Buffer.isBuffer(message) && this.#attachments === 0) {
      this.emitReserved('decoded', decodeMessage(message));
      return;
    }
    super.add(message);
    this.#attachments = typeof message === 'string' ? attachmentsOf(message) : this.#attachments - 1;
  }

  /** A client goes on with the same decoder in its next connection. */
  override destroy(): void {
    this.#attachments = 0;
    super.destroy();
  }
}

/** For the `parser` option of both ends. */
export const v2eParser = { Encoder, Decoder };

/** One event with its binary argument, as a peer sent it. */
export interface V2eEvent {
  readonly name: string;
  /** A view of the message. */
  readonly argument: Buffer;
  /** With which it is acknowledged; undefined: the peer wants no acknowledgement. */
  readonly ack: number | undefined;
}

/** Reads what `encodeMessage` wrote of an event, past socket.io. @throws KerbError BadProtocolMessage for all else */
export function readEvent(message: Buffer): V2eEvent {
  const { type, data, id } = decodeMessage(message);
  if (type !== EVENT) throw bad('an acknowledgement of nothing');
  const [name, argument] = data as [string, Buffer];
  return { name, argument, ack: id };
}

/** True: it is an event of this name, as far as its head shows. */
export function isEventOf(message: Buffer, name: string): boolean {
  if (message[0] !== EVENT || message[1] !== name.length) return false;
  return message.toString('latin1', HEADER, HEADER + name.length) === name;
}

/** An event that wants no acknowledgement, past socket.io. */
export function encodeEvent(name: string, argument: Uint8Array): Buffer {
  return encodeMessage({ type: EVENT, nsp: '/', data: [name, argument] } as Packet)!;
}

/** The acknowledgement of an event, past socket.io. */
export function encodeAck(ack: number, argument: Uint8Array): Buffer {
  return encodeMessage({ type: ACK, nsp: '/', data: [argument], id: ack })!;
}

/** Undefined for a packet of any other shape. */
function encodeMessage({ type, nsp, data, id }: Packet): Buffer | undefined {
  const isEvent = type === EVENT;
  if ((!isEvent && type !== ACK) || nsp !== '/' || !Array.isArray(data)) return undefined;
  const name: unknown = isEvent ? data[0] : '';
  const argument: unknown = data[isEvent ? 1 : 0];
  if (data.length !== (isEvent ? 2 : 1) || !(argument instanceof Uint8Array)) return undefined;
  if (typeof name !== 'string' || NAME.test(name) !== isEvent || (id ?? 0) > MAX_ID) return undefined;
  const start = HEADER + name.length;
  const inPlace = takeRoom(argument, start);
  const message = inPlace ?? Buffer.allocUnsafe(start + argument.length);
  message[0] = type;
  message[1] = name.length;
  message.writeUInt32LE(id === undefined ? 0 : id + 1, 2);
  message.write(name, HEADER, 'latin1');
  if (inPlace === undefined) message.set(argument, start);
  return message;
}

function decodeMessage(message: Buffer): Packet {
  const type = message[0];
  const nameLength = message[1] ?? 0;
  const start = HEADER + nameLength;
  if (message.length < start) throw bad(`it is cut off: ${message.length} bytes`);
  const number = message.readUInt32LE(2);
  const id = number === 0 ? undefined : number - 1;
  const argument = message.subarray(start);
  if (type === EVENT) {
    const name = message.toString('latin1', HEADER, start);
    const packet: Packet = { type, nsp: '/', data: [name, argument], id };
    // Names that stand for socket.io's own events, such as "disconnect", are none that a peer may send.
    if (!NAME.test(name) || !isPacketValid(packet)) throw bad('no peer may name an event so');
    return packet;
  }
  if (type !== ACK) throw bad(`its type is ${type}`);
  if (id === undefined || nameLength !== 0) throw bad('an acknowledgement has an id and no name');
  return { type, nsp: '/', data: [argument], id };
}

/** socket.io's parser has read this message and found it good. */
function attachmentsOf(text: string): number {
  return Number(/^[56](\d+)-/.exec(text)?.[1] ?? 0);
}

function bad(why: string): KerbError {
  return new KerbError(ErrorCode.BadProtocolMessage, `a binary message cannot be used: ${why}`);
}

import { ErrorCode, KerbError } from '../base/errors.ts';

/** Largest message to a container, in bytes: an uncompressed picture of 4K fits. Larger ones end the connection. */
export const MAX_GATEWAY_MESSAGE = 32 * 1024 * 1024;
/** Largest message from a container, in bytes. Less, because containers are not trusted with the memory of the OBU. */
export const MAX_CLIENT_MESSAGE = 16 * 1024 * 1024;

/** A varint length in front of the message, as protobuf's writeDelimitedTo does. */
export function delimit(message: Uint8Array): Buffer {
  const head: number[] = [];
  let length = message.length;
  while (length > 0x7f) {
    head.push((length & 0x7f) | 0x80);
    length >>>= 7;
  }
  head.push(length);
  const framed = Buffer.allocUnsafe(head.length + message.length);
  framed.set(head, 0);
  framed.set(message, head.length);
  return framed;
}

/**
 * Cuts a byte stream back into messages. Feed it whatever the socket delivers.
 *
 * A message that comes in many chunks is copied once, into a buffer of its own; the system gives that buffer memory
 * only as it is filled. A peer that sends byte by byte costs no more than one that doesn't.
 */
export class DelimitedReader {
  readonly #maxMessage: number;
  /** The beginning of a length; a few bytes at most. */
  #head: Buffer = Buffer.alloc(0);
  /** The message whose end is still to come, and how much of it is there. */
  #message: Buffer | undefined;
  #filled = 0;

  constructor(maxMessage: number = MAX_GATEWAY_MESSAGE) {
    this.#maxMessage = maxMessage;
  }

  /**
   * Takes one chunk and returns the messages that are complete now.
   * @throws KerbError BadProtocolMessage for a length that is no varint, MessageTooLarge for one above the limit; the
   * stream is then unusable and its connection has to be closed.
   */
  push(chunk: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    let rest = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk]);
    this.#head = Buffer.alloc(0);
    while (rest.length > 0) {
      if (this.#message !== undefined) {
        rest = this.#fill(this.#message, rest, messages);
        continue;
      }
      const head = this.#readLength(rest);
      if (head === undefined) {
        this.#head = Buffer.from(rest);
        break;
      }
      const end = head.size + head.length;
      if (rest.length >= end) {
        messages.push(rest.subarray(head.size, end));
        rest = rest.subarray(end);
      } else {
        this.#message = Buffer.allocUnsafe(head.length);
        this.#filled = 0;
        rest = rest.subarray(head.size);
      }
    }
    return messages;
  }

  /** True when a message, or the length in front of it, is incomplete. */
  get isWaiting(): boolean {
    return this.#message !== undefined || this.#head.length > 0;
  }

  /** Returns what of `rest` belongs to the next message. */
  #fill(message: Buffer, rest: Buffer, messages: Buffer[]): Buffer {
    const copied = rest.copy(message, this.#filled);
    this.#filled += copied;
    if (this.#filled === message.length) {
      messages.push(message);
      this.#message = undefined;
    }
    return rest.subarray(copied);
  }

  #readLength(bytes: Buffer): { length: number; size: number } | undefined {
    let length = 0;
    for (let size = 0; size < 5; size++) {
      const byte = bytes[size];
      if (byte === undefined) return undefined;
      length += (byte & 0x7f) * 2 ** (7 * size);
      if (byte < 0x80) {
        if (length > this.#maxMessage) {
          throw new KerbError(
            ErrorCode.MessageTooLarge,
            `a message of ${length} bytes was announced; the limit is ${this.#maxMessage} bytes`,
            { length, limit: this.#maxMessage },
          );
        }
        return { length, size: size + 1 };
      }
    }
    throw new KerbError(
      ErrorCode.BadProtocolMessage,
      'the length in front of a message is not a valid varint: it must fit 32 bits',
    );
  }
}

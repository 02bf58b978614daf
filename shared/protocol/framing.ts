import { ErrorCode, KerbError } from '../errors.ts';

/** Largest message that either end of a gateway socket accepts, in bytes. Larger ones end the connection. */
export const MAX_GATEWAY_MESSAGE = 32 * 1024 * 1024;

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
 * Chunks are joined only once a message is complete, so that a large message that comes in many chunks costs one copy.
 */
export class DelimitedReader {
  readonly #maxMessage: number;
  readonly #chunks: Buffer[] = [];
  #buffered = 0;
  /** Bytes that must be there before another look is worth it. */
  #needed = 1;

  constructor(maxMessage: number = MAX_GATEWAY_MESSAGE) {
    this.#maxMessage = maxMessage;
  }

  /**
   * Takes one chunk and returns the messages that are complete now.
   * @throws KerbError BadProtocolMessage for a length that is no varint, MessageTooLarge for one above the limit; the
   * stream is then unusable and its connection has to be closed.
   */
  push(chunk: Buffer): Buffer[] {
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    if (this.#buffered < this.#needed) return [];
    let rest = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks, this.#buffered);
    const messages: Buffer[] = [];
    this.#needed = 1;
    while (rest.length > 0) {
      const head = this.#readLength(rest);
      if (head === undefined) {
        this.#needed = rest.length + 1;
        break;
      }
      const end = head.size + head.length;
      if (rest.length < end) {
        this.#needed = end;
        break;
      }
      messages.push(rest.subarray(head.size, end));
      rest = rest.subarray(end);
    }
    this.#chunks.length = 0;
    if (rest.length > 0) this.#chunks.push(rest);
    this.#buffered = rest.length;
    return messages;
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
    throw new KerbError(ErrorCode.BadProtocolMessage, 'the length in front of a message is no varint of 32 bits');
  }
}

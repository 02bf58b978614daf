/**
 * Conversations of a client with a daemon as they once were, byte for byte, in files: for tests that say the client's part
 * again to a daemon of today. A file is a list of records, each a kind (one ASCII letter), a length (32 bits, little
 * endian) and so many bytes:
 *
 *     C   bytes of the client, in as few records as they came in
 *     S   one message of the server: the client's next bytes may depend on it
 *     M   a mark, a word: here the recorder did something to the world behind the daemon, and whoever replays does it too
 */
import type { Duplex } from 'node:stream';
import protobuf from 'protobufjs/minimal.js';
import { until } from './until.ts';

export type RecordKind = 'C' | 'S' | 'M';

export interface ConversationRecord {
  readonly kind: RecordKind;
  readonly bytes: Buffer;
}

export function writeConversation(records: readonly ConversationRecord[]): Buffer {
  return Buffer.concat(
    records.flatMap(({ kind, bytes }) => {
      const head = Buffer.alloc(5);
      head.write(kind, 'latin1');
      head.writeUInt32LE(bytes.length, 1);
      return [head, bytes];
    }),
  );
}

/** @throws RangeError for a file that is cut off */
export function readConversation(file: Buffer): ConversationRecord[] {
  const records: ConversationRecord[] = [];
  for (let at = 0; at < file.length; ) {
    const end = at + 5 + file.readUInt32LE(at + 1);
    if (end > file.length) throw new RangeError('the conversation is cut off');
    records.push({ kind: file.toString('latin1', at, at + 1) as RecordKind, bytes: file.subarray(at + 5, end) });
    at = end;
  }
  return records;
}

/** Cuts what a server writes into its messages: given the bytes of one chunk, those that are complete now. */
export type Cut = (chunk: Buffer) => readonly Buffer[];

/**
 * Says a client's part again, in its order: after each message that the server said then, it waits for one of now.
 * @param act what a mark stands for
 * @returns the messages that the server says today, as many as were recorded
 * @throws Error when it says fewer
 */
export async function replay(
  records: readonly ConversationRecord[],
  socket: Duplex,
  cut: Cut,
  act: (mark: string) => void = () => {},
): Promise<readonly Buffer[]> {
  const said: Buffer[] = [];
  let isOver = false;
  socket.on('data', (chunk: Buffer) => said.push(...cut(chunk)));
  socket.on('close', () => {
    isOver = true;
  });
  let expected = 0;
  for (const { kind, bytes } of records) {
    if (kind === 'C') socket.write(bytes);
    else if (kind === 'M') act(bytes.toString('latin1'));
    else {
      expected++;
      await until(`message ${expected} of the server`, () => said.length >= expected || isOver);
      if (said.length < expected) throw new Error(`the server ended the connection before its message ${expected}`);
    }
  }
  return said.slice(0, expected);
}

/**
 * Messages of a server on WebSocket, its answer to the upgrade first. Engine.io's pings are left out: they come when it is
 * time for them.
 */
export function webSocketMessages(): Cut {
  let rest = Buffer.alloc(0);
  let isOpen = false;
  return (chunk) => {
    const messages: Buffer[] = [];
    rest = Buffer.concat([rest, chunk]);
    if (!isOpen) {
      const end = rest.indexOf('\r\n\r\n');
      if (end < 0) return messages;
      messages.push(rest.subarray(0, end + 4));
      rest = rest.subarray(end + 4);
      isOpen = true;
    }
    for (let frame = firstFrame(rest); frame !== undefined; frame = firstFrame(rest)) {
      const payload = rest.subarray(frame.start, frame.end);
      rest = rest.subarray(frame.end);
      if (payload.toString('latin1') !== '2') messages.push(payload);
    }
    return messages;
  };
}

/** Where the payload of the first frame is, undefined when it is not all there. A server masks none, and ours splits none. */
function firstFrame(bytes: Buffer): { start: number; end: number } | undefined {
  if (bytes.length < 2) return undefined;
  const short = bytes[1]!;
  const start = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < start) return undefined;
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  return bytes.length < start + length ? undefined : { start, end: start + length };
}

export type Field = number | bigint | Buffer;

/**
 * The fields of a protobuf message by their numbers, as the wire has them and no schema of today: a varint as a number, 64
 * bits as a double, what has a length as bytes. For messages without packed or 32-bit fields.
 */
export function fieldsOf(message: Uint8Array): Record<number, Field[]> {
  const reader = protobuf.Reader.create(message);
  const fields: Record<number, Field[]> = {};
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const wireType = tag & 7;
    if (wireType !== 0 && wireType !== 1 && wireType !== 2) throw new Error(`wire type ${wireType}`);
    fields[tag >>> 3] ??= [];
    const value =
      wireType === 0 ? Number(reader.uint64()) : wireType === 1 ? reader.double() : Buffer.from(reader.bytes());
    fields[tag >>> 3]!.push(value);
  }
  return fields;
}

/**
 * The protocol of the userspace bus over its Unix socket: records of exactly 80 bytes, both ways.
 * No record tells how long it is, so nothing that a peer writes can make the other wait for, or allocate, more.
 *
 *   offset  size
 *        0     1  magic, CB
 *        1     1  type: 1 hello, 2 frame, 3 dropped
 *        2     1  frame: flags as in gateway.proto; hello: version, 1
 *        3     1  frame: bytes of data; hello: bytes of the name
 *        4     4  frame: id, little-endian
 *        8     8  frame: microseconds since 1970, float64 little-endian; dropped: frames lost so far on this connection
 *       16    64  frame: data; hello: name of the program or of the bus, UTF-8; the rest zero
 *
 * A program says hello and the bus answers hello; then both send frames. The bus stamps each frame with the time at
 * which it came in, as a kernel does, and hands it to every program but its sender. The bus sends a dropped record in
 * front of the first frame after a loss. Any other record ends the connection.
 *
 * Hot path: a frame is encoded into a batch and decoded from a chunk; the decoder allocates the frame and its data
 * only. Fixed size costs a classical frame 56 bytes of memory bandwidth, which a Unix socket has, and saves a parser
 * state.
 */

import { FineClock } from '../../base/clock.ts';
import { type CanFrame, flagsOf, frameFault, uncheckedFrame } from '../frame.ts';

export const RECORD_SIZE = 80;
export const PROTOCOL_VERSION = 1;
export const RecordType = { Hello: 1, Frame: 2, Dropped: 3 } as const;

const MAGIC = 0xcb;
const DATA = 16;
const MAX_NAME = 64;

export function encodeHello(name: string): Buffer {
  const record = Buffer.alloc(RECORD_SIZE);
  // A name that is cut in the middle of a character ends in U+FFFD, which is what it is.
  const bytes = Buffer.from(name).subarray(0, MAX_NAME);
  record[0] = MAGIC;
  record[1] = RecordType.Hello;
  record[2] = PROTOCOL_VERSION;
  record[3] = bytes.length;
  record.set(bytes, DATA);
  return record;
}

export function encodeDropped(total: number): Buffer {
  const record = Buffer.alloc(RECORD_SIZE);
  record[0] = MAGIC;
  record[1] = RecordType.Dropped;
  record.writeDoubleLE(total, 8);
  return record;
}

/** Writes a frame record at `at`; `target` has room for it. */
export function encodeFrame(frame: CanFrame, target: Buffer, at: number): void {
  target[at] = MAGIC;
  target[at + 1] = RecordType.Frame;
  target[at + 2] = flagsOf(frame);
  target[at + 3] = frame.data.length;
  target.writeUInt32LE(frame.id, at + 4);
  target.writeDoubleLE(frame.timeUs, at + 8);
  target.set(frame.data, at + DATA);
  target.fill(0, at + DATA + frame.data.length, at + RECORD_SIZE);
}

/** The problem of the record at `at`; undefined when it is valid. */
export function recordFault(bytes: Buffer, at: number): string | undefined {
  if (bytes[at] !== MAGIC) return `a record begins with ${bytes[at]} and not with ${MAGIC}`;
  const type = bytes[at + 1];
  const length = bytes[at + 3]!;
  switch (type) {
    case RecordType.Hello:
      if (bytes[at + 2] !== PROTOCOL_VERSION) {
        return `it speaks version ${bytes[at + 2]} of the bus protocol and not ${PROTOCOL_VERSION}`;
      }
      return length <= MAX_NAME ? undefined : `its name has ${length} bytes`;
    case RecordType.Frame:
      return frameFault(bytes.readUInt32LE(at + 4), bytes[at + 2]!, length);
    case RecordType.Dropped:
      return undefined;
    default:
      return `record type ${type} is unknown`;
  }
}

export function recordType(bytes: Buffer, at: number): number {
  return bytes[at + 1]!;
}

/** Stamps the frame record at `at`. */
export function stampRecord(bytes: Buffer, at: number, timeUs: number): void {
  bytes.writeDoubleLE(timeUs, at + 8);
}

/** The name in a hello record that `recordFault` has let pass, printable characters only. */
export function helloName(bytes: Buffer, at: number): string {
  const name = bytes.toString('utf8', at + DATA, at + DATA + bytes[at + 3]!);
  return name.replace(/[^\x20-\x7e]/g, '?');
}

/** The count in a dropped record. */
export function droppedTotal(bytes: Buffer, at: number): number {
  return bytes.readDoubleLE(at + 8);
}

/** The frame in a record that `recordFault` has let pass. The data is a copy; the chunk is not kept alive. */
export function decodeFrame(bytes: Buffer, at: number): CanFrame {
  const length = bytes[at + 3]!;
  const data = new Uint8Array(length);
  for (let i = 0; i < length; i++) data[i] = bytes[at + DATA + i]!;
  return uncheckedFrame(bytes.readUInt32LE(at + 4), bytes[at + 2]!, data, bytes.readDoubleLE(at + 8));
}

/**
 * Cuts a byte stream into runs of whole records. Only the part of a record at the end of a chunk is copied.
 */
export class RecordCutter {
  #rest: Buffer | undefined;

  /** Takes a chunk; returns the whole records there are now, as one buffer, possibly empty. */
  push(chunk: Buffer): Buffer {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    const whole = bytes.length - (bytes.length % RECORD_SIZE);
    this.#rest = whole === bytes.length ? undefined : Buffer.from(bytes.subarray(whole));
    return whole === bytes.length ? bytes : bytes.subarray(0, whole);
  }
}

const clock = new FineClock();

/** Microseconds since 1970 now, for stamps; follows the system's clock when that is set. */
export function nowUs(): number {
  return clock.wallUs(performance.now());
}

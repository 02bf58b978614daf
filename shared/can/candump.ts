/**
 * The text forms of can-utils: cansend's frames (`166#D0320009`, `123#R5`, `123##1AABB`, `18DAF110#02`) and candump's
 * log lines (`(1398128223.803317) can0 166#D0320009`).
 */
import { ErrorCode, KerbError } from '../base/errors.ts';
import {
  CAN_ERR_FLAG,
  type CanFrame,
  FrameFlag,
  formatCanId,
  frameFault,
  isFrameLength,
  MAX_EXTENDED_ID,
  uncheckedFrame,
} from './frame.ts';

export interface CandumpRecord {
  /** The interface in the line, `can0`. */
  readonly bus: string;
  readonly frame: CanFrame;
}

/** Makes the error for a fault at a position of the text that is being read. */
type Fail = (position: number, what: string) => KerbError;

function failIn(text: string, offset = 0): Fail {
  return (position, what) => {
    const shown = text.length > 200 ? `${text.slice(0, 200)}…` : text;
    const at = offset + position;
    return new KerbError(ErrorCode.BadCandumpLine, `"${shown}", character ${at + 1}: ${what}`, { position: at });
  };
}

const hexByte: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).toUpperCase().padStart(2, '0'),
);

function nibble(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const letter = code | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}

/** The bytes from `start` on; cansend allows dots between them. */
function readBytes(text: string, start: number, max: number, fail: Fail): Uint8Array {
  const bytes = new Uint8Array(max);
  let length = 0;
  let at = start;
  while (at < text.length) {
    if (text[at] === '.' && length > 0) at++;
    const high = nibble(text.charCodeAt(at));
    const low = nibble(text.charCodeAt(at + 1));
    if (text[at] === '_') throw fail(at, 'raw DLC values above 8 of classical frames are not supported');
    if (high < 0) throw fail(at, at < text.length ? `"${text[at]}" is not a hex digit` : 'a byte is missing');
    if (low < 0) throw fail(at + 1, 'a byte has two hex digits');
    if (length === max) throw fail(at, `the frame can hold ${max} bytes`);
    bytes[length++] = high * 16 + low;
    at += 2;
  }
  return bytes.slice(0, length);
}

function readFrame(text: string, timeUs: number, fail: Fail): CanFrame {
  const hash = text.indexOf('#');
  if (hash < 0) throw fail(text.length, 'there is no "#" after the id');
  if (hash !== 3 && hash !== 8) throw fail(0, 'an id has three hex digits, or eight when it is extended');
  for (let i = 0; i < hash; i++) {
    if (nibble(text.charCodeAt(i)) < 0) throw fail(i, `"${text[i]}" is not a hex digit`);
  }
  const rawId = Number.parseInt(text.slice(0, hash), 16);
  let flags = 0;
  let id = rawId;
  if (hash === 8) {
    if ((rawId & CAN_ERR_FLAG) !== 0) {
      flags = FrameFlag.Error;
      id = rawId & MAX_EXTENDED_ID;
    } else {
      flags = FrameFlag.Extended;
    }
    if (rawId > (CAN_ERR_FLAG | MAX_EXTENDED_ID)) throw fail(0, 'an extended id is at most 1FFFFFFF');
  }
  const next = text[hash + 1];
  let data: Uint8Array;
  if (next === '#') {
    const digit = nibble(text.charCodeAt(hash + 2));
    if (digit < 0) throw fail(hash + 2, 'one hex digit of FD flags comes after "##"');
    // linux/can.h: bit 0 BRS, bit 1 ESI, bit 2 FDF (says again that this is FD). candump writes the driver's four bits
    // as they are, so bit 3, which has no meaning, can be set as well; can-utils read over it, and so do we.
    flags |= FrameFlag.Fd | (digit & 1 ? FrameFlag.Brs : 0) | (digit & 2 ? FrameFlag.Esi : 0);
    flags |= digit & 4 ? FrameFlag.Fdf : 0;
    data = readBytes(text, hash + 3, 64, fail);
    if (!isFrameLength(data.length, true)) throw fail(hash + 3, `${data.length} bytes are not a valid CAN FD length`);
  } else if (next === 'R' || next === 'r') {
    flags |= FrameFlag.Remote;
    const length = text.slice(hash + 2);
    if (!/^[0-8]?$/.test(length)) throw fail(hash + 2, 'after "R" comes nothing or one digit, 0 to 8');
    data = new Uint8Array(length === '' ? 0 : Number(length));
  } else {
    data = readBytes(text, hash + 1, 8, fail);
  }
  const fault = frameFault(id, flags, data.length);
  if (fault !== undefined) throw fail(0, fault);
  return uncheckedFrame(id, flags, data, timeUs);
}

/**
 * Reads one frame as cansend takes it.
 * @throws KerbError BadCandumpLine with the text and the position of the fault
 */
export function parseFrameText(text: string, timeUs = 0): CanFrame {
  return readFrame(text, timeUs, failIn(text));
}

/** The frame as cansend takes it and candump logs it. */
export function formatFrame(frame: CanFrame): string {
  let text = frame.err ? formatCanId(frame.id | CAN_ERR_FLAG, true) : formatCanId(frame.id, frame.ext);
  if (frame.rtr) return `${text}#R${frame.data.length > 0 ? frame.data.length : ''}`;
  text += frame.fd ? `##${(frame.brs ? 1 : 0) | (frame.esi ? 2 : 0) | (frame.fdf ? 4 : 0)}` : '#';
  for (const byte of frame.data) text += hexByte[byte];
  return text;
}

/**
 * Reads one line of a candump log. What newer can-utils add at its end (` T` or ` R`, the direction) is accepted, and
 * their times to the nanosecond, of which the microseconds are kept.
 * @throws KerbError BadCandumpLine with the line and the position of the fault
 */
export function parseCandumpLine(line: string): CandumpRecord {
  const match = /^\((\d{1,10})\.(\d{6})(?:\d{3})?\) +(\S+) +(\S+)(?: +[TR])?\s*$/d.exec(line);
  if (match === null) {
    throw failIn(line)(0, 'a candump log line looks like (1398128223.803317) can0 166#D0320009');
  }
  const [, seconds, micros, bus, text] = match;
  if (bus!.length > 15) throw failIn(line)(match.indices![3]![0], 'an interface name has at most 15 characters');
  const timeUs = Number(seconds) * 1e6 + Number(micros);
  return { bus: bus!, frame: readFrame(text!, timeUs, failIn(line, match.indices![4]![0])) };
}

/** The frame as a line of a candump log, without the end of the line. */
export function formatCandumpLine(bus: string, frame: CanFrame): string {
  const seconds = Math.floor(frame.timeUs / 1e6);
  const micros = Math.round(frame.timeUs - seconds * 1e6);
  return `(${String(seconds).padStart(10, '0')}.${String(micros).padStart(6, '0')}) ${bus} ${formatFrame(frame)}`;
}

/**
 * How long a frame occupies the bus, for the bus load. Hot path: one call per frame, so it is one table look-up.
 */
import type { CanFrame } from './frame.ts';

/**
 * The data phase of an FD frame with BRS runs this much faster than the arbitration phase: 2 Mbit/s over 500 kbit/s,
 * the usual pair in cars.
 */
const FD_RATE_RATIO = 4;

/**
 * Stuff bits depend on the content. Between none and the worst case (one after every four bits that follow the first,
 * ISO 11898-1) the middle is taken.
 */
function stuffed(bits: number): number {
  return bits + Math.round((bits - 1) / 8);
}

/** CRC delimiter, ACK, ACK delimiter, 7 bits end of frame, 3 bits intermission. */
const TAIL = 13;

function classicalBits(length: number, ext: boolean): number {
  // SOF, id (with SRR and IDE when extended), RTR, two reserved or IDE bits, DLC, data, 15 bits CRC.
  return stuffed((ext ? 54 : 34) + 8 * length) + TAIL;
}

function fdBits(length: number, ext: boolean, brs: boolean): number {
  // SOF .. BRS at the slow rate; ESI, DLC and data at the fast one. The stuff count and the CRC have fixed stuff bits:
  // one in front and one after each four bits (ISO 11898-1:2015, 10.4.2.6).
  const arbitration = stuffed(ext ? 36 : 17);
  const crc = length <= 16 ? 4 + 17 + 6 : 4 + 21 + 7;
  const dataPhase = stuffed(5 + 8 * length) + crc;
  return Math.round(arbitration + (brs ? dataPhase / FD_RATE_RATIO : dataPhase)) + TAIL;
}

const LENGTHS = 65;
const table = new Uint16Array(LENGTHS * 6);
for (let length = 0; length < LENGTHS; length++) {
  table[length] = classicalBits(length, false);
  table[LENGTHS + length] = classicalBits(length, true);
  table[2 * LENGTHS + length] = fdBits(length, false, false);
  table[3 * LENGTHS + length] = fdBits(length, true, false);
  table[4 * LENGTHS + length] = fdBits(length, false, true);
  table[5 * LENGTHS + length] = fdBits(length, true, true);
}

/**
 * Estimated length of the frame on the wire with stuff bits and intermission, in bit times of the nominal
 * (arbitration) bit rate. An error frame counts as 20 bits: flag, echo of the flag and delimiter.
 */
export function wireBits(frame: CanFrame): number {
  if (frame.err) return 20;
  const kind = (frame.fd ? (frame.brs ? 4 : 2) : 0) + (frame.ext ? 1 : 0);
  return table[kind * LENGTHS + (frame.rtr ? 0 : frame.data.length)]!;
}

/**
 * Checksums that ECUs put into their frames. Which bytes count: those of `dataId` first (AUTOSAR E2E gives each message
 * such an id, low byte first), then those of the frame in order. The checksum's own bits are taken as zero, and a byte
 * that holds nothing else is left out.
 *
 * - `crc8-sae-j1850`: polynomial 1D, start FF, result inverted (SAE J1850; AUTOSAR E2E profile 1 has it with start 00)
 * - `crc8-autosar`: polynomial 2F, start FF, result inverted (AUTOSAR CRC library, `Crc_CalculateCRC8H2F`)
 * - `xor`: all bytes
 * - `sum`: all bytes, in as many bits as the signal has
 * - `sum-with-id`: the same with the bytes of the CAN id and the length of the frame added
 */
import type { DbcMessage } from './dbc.ts';
import type { MessageSignal } from './message-codec.ts';

export const checksumAlgorithms = ['crc8-sae-j1850', 'crc8-autosar', 'xor', 'sum', 'sum-with-id'] as const;
export type ChecksumAlgorithm = (typeof checksumAlgorithms)[number];

export interface FrameChecksum {
  /** The signal that holds it. */
  readonly signal: string;
  readonly algorithm: ChecksumAlgorithm;
  /** Bytes. */
  readonly dataId: readonly number[];
}

function crc8(bytes: Iterable<number>, polynomial: number): number {
  let crc = 0xff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = ((crc << 1) ^ ((crc & 0x80) === 0 ? 0 : polynomial)) & 0xff;
  }
  return crc ^ 0xff;
}

const sum = (bytes: readonly number[]) => bytes.reduce((total, byte) => total + byte, 0);

const calculators: Readonly<Record<ChecksumAlgorithm, (bytes: readonly number[], message: DbcMessage) => number>> = {
  'crc8-sae-j1850': (bytes) => crc8(bytes, 0x1d),
  'crc8-autosar': (bytes) => crc8(bytes, 0x2f),
  xor: (bytes) => bytes.reduce((all, byte) => all ^ byte, 0),
  sum,
  'sum-with-id': (bytes, { id, length }) =>
    sum(bytes) + sum([id & 0xff, (id >>> 8) & 0xff, (id >>> 16) & 0xff, id >>> 24]) + length,
};

/** Writes the checksum of these data into them. @param into an unsigned signal of the message */
export function writeChecksum(
  data: Uint8Array,
  into: MessageSignal,
  { algorithm, dataId }: FrameChecksum,
  message: DbcMessage,
): void {
  const full = 2 ** into.signal.length;
  // The bits that are the signal's, and no others.
  const own = new Uint8Array(data.length);
  into.writeRaw(own, full - 1);
  const bytes = [...dataId];
  for (const [i, byte] of data.entries()) if (own[i] !== 0xff) bytes.push(byte & ~own[i]!);
  into.writeRaw(data, calculators[algorithm](bytes, message) % full);
}

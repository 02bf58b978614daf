/** What the programs of the bench at a gateway and the bench itself have in common. */

/** The CAN frame that says that a measurement is over. */
export const END_ID = 0x7ff;
/** Latencies that a reader keeps of one measurement, evenly spread over it. */
export const MAX_SAMPLES = 20_000;

/** What a reader of CAN frames saw of one measurement. Times in microseconds. */
export interface ReaderReport {
  readonly frames: number;
  /** What it was told that it lost, here and at the OBU. */
  readonly lost: number;
  readonly latencies: readonly number[];
}

/** What a reader of pictures saw of one. Times in microseconds since 1970. */
export interface CameraSample {
  /** When the OBU had the picture. */
  readonly timeUs: number;
  /** When the reader had it. */
  readonly atUs: number;
  readonly number: number;
}

/** Pixels of one bit of the number in a picture, black or white, in the first row. */
const BIT_PIXELS = 8;
const BITS = 16;

export function writeNumber(luma: Uint8Array, number: number): void {
  for (let bit = 0; bit < BITS; bit++) {
    luma.fill((number >> bit) & 1 ? 255 : 0, bit * BIT_PIXELS, (bit + 1) * BIT_PIXELS);
  }
}

export function numberIn(luma: Uint8Array): number {
  let number = 0;
  for (let bit = 0; bit < BITS; bit++) if (luma[bit * BIT_PIXELS + BIT_PIXELS / 2]! > 127) number |= 1 << bit;
  return number;
}

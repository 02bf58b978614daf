/** The frame that says that a measurement is over. */
export const END_ID = 0x7ff;
/** Latencies that a reader keeps of one measurement, evenly spread over it. */
export const MAX_SAMPLES = 20_000;

/** What a reader saw of one measurement. Times in microseconds. */
export interface ReaderReport {
  readonly frames: number;
  /** What it was told that it lost, here and at the OBU. */
  readonly lost: number;
  readonly latencies: readonly number[];
}

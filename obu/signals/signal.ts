/** What a VSS leaf can hold here; 64-bit integers that do not fit a double exactly are not used by any DBC signal. */
export type SignalDatum = number | boolean | string;

/** One value of one VSS path. */
export interface SignalValue {
  readonly path: string;
  readonly value: SignalDatum;
  /** Microseconds since 1970 of the frame that carried it. */
  readonly timeUs: number;
  /** Where it came from: the name of the bus. */
  readonly source: string;
}

/** The signals of this vehicle as their consumers see them. */
export interface SignalSource {
  /** Every leaf path that can ever have a value, sorted. */
  paths(): readonly string[];
  get(path: string): SignalValue | undefined;
  /**
   * Values of these leaves, as they are decoded: one call per frame with all that it changed or repeated. The last
   * known values are delivered at once, before this returns.
   */
  subscribe(leaves: ReadonlySet<string>, listener: (values: readonly SignalValue[]) => void): () => void;
}

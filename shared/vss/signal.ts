import type { Exact, SignalDatum } from '../base/exact.ts';

export type { SignalDatum };

/** The value of a leaf: lists where its data type is one, as in `uint8[]`. */
export type LeafValue = SignalDatum | readonly SignalDatum[];

/** The source of a value that is only the default of its leaf: nobody has said anything yet. */
export const DEFAULT_SOURCE = 'default';

/** One value of one VSS path. */
export interface SignalValue {
  readonly path: string;
  readonly value: LeafValue;
  /** Microseconds since 1970 of the frame that carried it, or when its provider had it. */
  readonly timeUs: number;
  /** Where it came from: the name of a bus, of a workload, or of the OBU itself; DEFAULT_SOURCE. */
  readonly source: string;
  /** Its time to live has passed and no other source has a fresh one: this is only the last value that there was. */
  readonly stale: boolean;
}

/** What VSS says of a leaf. Texts are empty and limits undefined where it says nothing. */
export interface SignalInfo {
  readonly path: string;
  readonly type: 'sensor' | 'actuator' | 'attribute';
  /** VSS data type. */
  readonly datatype: string;
  readonly unit: string;
  readonly description: string;
  readonly comment: string;
  readonly deprecation: string;
  /** Of a list, the limits of each item; the same with `allowed`. */
  readonly min: Exact | undefined;
  readonly max: Exact | undefined;
  readonly allowed: readonly SignalDatum[] | undefined;
}

/** The signals of this vehicle as their consumers see them. */
export interface SignalSource {
  /** Every leaf path that can ever have a value, sorted. */
  paths(): readonly string[];
  get(path: string): SignalValue | undefined;
  /**
   * Values of these leaves, as they come: one call per frame with all that it changed or repeated. A value that turns
   * stale is delivered as well. The last known values are delivered at once, before this returns.
   */
  subscribe(leaves: ReadonlySet<string>, listener: (values: readonly SignalValue[]) => void): () => void;
}

/** A value that a provider has. */
export interface ProvidedValue {
  readonly path: string;
  readonly value: LeafValue;
  /** Microseconds since 1970; left out or in the future: now. */
  readonly timeUs?: number;
}

export interface ActuationTarget {
  readonly path: string;
  readonly value: LeafValue;
}

/** Sets a target and resolves when it was accepted. */
export type ActuationHandler = (path: string, value: LeafValue) => Promise<void>;

/** Sets several targets together, and resolves when all were accepted. */
export type BatchHandler = (targets: readonly ActuationTarget[]) => Promise<void>;

/** One source of values that is no bus: a workload, or the OBU itself. */
export interface SignalProvider {
  /**
   * Takes all of these values, or none.
   * @throws KerbError UnknownSignal | BadSignalValue
   */
  provide(values: readonly ProvidedValue[]): void;
  /**
   * From now on actuations of these paths go to this handler, until the returned function is called.
   * @param together gets those that were asked for in one request; left out: the handler gets one after the other
   * @throws KerbError UnknownSignal | NotAnActuator | AlreadyProvided
   */
  serve(paths: readonly string[], handler: ActuationHandler, together?: BatchHandler): () => void;
  /** Its values turn stale, and actuations no longer reach it. */
  close(): void;
}

/** All that can be done with the signals of a vehicle. Who may do what is for the caller to know. */
export interface VehicleSignals extends SignalSource {
  info(path: string): SignalInfo | undefined;
  /** @param name the source of its values; a provider of the same name that was closed before goes on with them */
  openProvider(name: string): SignalProvider;
  /**
   * Why a value cannot be a target, or nothing.
   * @throws KerbError UnknownSignal | NotAnActuator | BadSignalValue | NoActuationProvider
   */
  checkActuation(path: string, value: LeafValue): void;
  /**
   * Sets the target of an actuator, and waits until the vehicle reports that it is so.
   * @param timeoutMs Milliseconds from now; 0: as the mapping says.
   * @returns what the vehicle reports; undefined when nothing acknowledges this actuator
   * @throws KerbError those of `checkActuation`, ActuationTimedOut, ActuationRefused (by a provider), TooManyRequests,
   * and what the bus throws
   */
  actuate(path: string, value: LeafValue, timeoutMs?: number): Promise<SignalValue | undefined>;
  /**
   * Sets several targets, each as `actuate` does. All are checked before any is sent; what one provider serves it gets in
   * one piece, and frames of one CAN message follow each other with nothing of others in between.
   * @throws KerbError as `actuate`: the first that failed
   */
  actuateAll(targets: readonly ActuationTarget[], timeoutMs?: number): Promise<void>;
}

/** The value of a path, for conditions: unless it is stale, a list, or a default, which nobody has observed. */
export function freshOf(source: SignalSource): (path: string) => SignalDatum | undefined {
  return (path) => conditionValue(source.get(path));
}

export function conditionValue(value: SignalValue | undefined): SignalDatum | undefined {
  if (value === undefined || value.stale || value.source === DEFAULT_SOURCE) return undefined;
  return typeof value.value === 'object' ? undefined : value.value;
}

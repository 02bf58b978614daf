/** What a container may ask of signals, held against its grant: subscriptions, values, actuations, and its own values. */
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { exact } from '../../../shared/base/exact.ts';
import type { kerbside } from '../../../shared/protocol/generated/gateway.js';
import { inExactFormOf } from '../../../shared/vss/datatype.ts';
import type {
  ActuationTarget,
  LeafValue,
  ProvidedValue,
  SignalDatum,
  SignalProvider,
  SignalValue,
} from '../../../shared/vss/signal.ts';
import { isListValue, itemType } from '../../../shared/vss/signal-list.ts';
import type { GrantGuard } from '../../grants/grants.ts';
import { toWireFields } from '../streams/datum-wire.ts';
import type { Stream } from '../streams/outbox.ts';
import { SignalStream, type SignalStreamOptions } from '../streams/streams.ts';

type WireValue = kerbside.gateway.v1.SignalValue.$Properties;

const MAX_PATHS = 4096;
/** Actuations of one container that may be under way: others who set the same message wait behind them. */
const MAX_ACTUATIONS = 8;
/** Nothing takes this long, in milliseconds: what seems to was stamped before the clock was set. */
const MAX_LATENCY_MS = 60_000;

export interface SignalServiceMeter {
  /** Seconds from the frame that carried it until it was handed to the socket of the workload. */
  signalLatency(seconds: number): void;
  /** Values that a slow workload lost. */
  signalsDropped(workload: string, count: number): void;
}

/** One for each container; its connections and its kuksa.val socket share it. */
export class SignalService {
  readonly #workload: string;
  readonly #guard: GrantGuard;
  readonly #meter: SignalServiceMeter;
  #provider: SignalProvider | undefined;
  #actuations = 0;

  constructor(workload: string, guard: GrantGuard, meter: SignalServiceMeter) {
    this.#workload = workload;
    this.#guard = guard;
    this.#meter = meter;
  }

  get guard(): GrantGuard {
    return this.#guard;
  }

  /**
   * The container is gone, or may no longer be what it was: its values are stale until it provides them anew, and
   * nothing that it served is served any more.
   */
  close(): void {
    this.#provider?.close();
    this.#provider = undefined;
  }

  /** The source that this workload is. */
  get provider(): SignalProvider {
    this.#provider ??= this.#guard.source.openProvider(this.#workload);
    return this.#provider;
  }

  /** `subscribe` asks the guard. @throws KerbError NotGranted | UnknownSignal | BadGatewayRequest | TooManyRequests */
  subscription(
    request: number,
    paths: readonly string[],
    options: SignalStreamOptions,
    wake: (stream: Stream) => void,
  ): { readonly stream: Stream; readonly subscribe: () => () => void } {
    const stream = new SignalStream(
      request,
      options,
      wake,
      (_count, newestUs) => {
        // Between the two stamps the clock may have been set: that says nothing about us.
        const ms = Date.now() - newestUs / 1000;
        if (ms < MAX_LATENCY_MS) this.#meter.signalLatency(Math.max(0, ms) / 1000);
      },
      () => this.#meter.signalsDropped(this.#workload, 1),
    );
    const subscribe = () => this.#guard.source.subscribe(this.leaves(paths), stream.push);
    return { stream, subscribe };
  }

  /** What is known of the leaves that these paths mean. @throws as `subscription` */
  get(paths: readonly string[]): SignalValue[] {
    const { source } = this.#guard;
    return [...this.leaves(paths)].map((path) => source.get(path)).filter((value) => value !== undefined);
  }

  /** @throws KerbError NotGranted | UnknownSignal | BadGatewayRequest | TooManyRequests */
  leaves(paths: readonly string[], matcherOf?: (path: string) => (leaf: string) => boolean): ReadonlySet<string> {
    mustNotExceed(paths.length, 'paths');
    return this.#guard.signals(paths, matcherOf);
  }

  /** @throws KerbError NotGranted | TooManyRequests, and those of VehicleSignals.actuate */
  async actuate(path: string, value: LeafValue, timeoutMs: number): Promise<SignalValue | undefined> {
    this.#guard.signal('actuate', path);
    return this.#actuating(() => this.#guard.source.actuate(path, this.#inForm(path, value), timeoutMs));
  }

  /** Several in one request, which count as one. @throws as `actuate` */
  async actuateAll(targets: readonly ActuationTarget[], timeoutMs: number): Promise<void> {
    mustNotExceed(targets.length, 'actuations');
    for (const { path } of targets) this.#guard.signal('actuate', path);
    const inForm = targets.map(({ path, value }) => ({ path, value: this.#inForm(path, value) }));
    return this.#actuating(() => this.#guard.source.actuateAll(inForm, timeoutMs));
  }

  /** An app may give a whole number in either of its forms, whatever the datatype of the leaf is. */
  #inForm(path: string, value: LeafValue): LeafValue {
    const datatype = this.#guard.source.info(path)?.datatype ?? '';
    if (!isListValue(value)) return inExactFormOf(datatype, value);
    return value.map((one) => inExactFormOf(itemType(datatype), one));
  }

  async #actuating<T>(task: () => Promise<T>): Promise<T> {
    if (this.#actuations >= MAX_ACTUATIONS) {
      throw new KerbError(ErrorCode.TooManyRequests, `${MAX_ACTUATIONS} actuations are under way, which is the limit`);
    }
    this.#actuations++;
    try {
      return await task();
    } finally {
      this.#actuations--;
    }
  }

  /** Takes all of these values, or none. @throws KerbError NotGranted | UnknownSignal | BadSignalValue */
  provide(values: readonly ProvidedValue[]): void {
    mustNotExceed(values.length, 'values');
    for (const { path } of values) this.#guard.signal('provide', path);
    this.provider.provide(values.map((one) => ({ ...one, value: this.#inForm(one.path, one.value) })));
  }
}

/** A value as it came from a container. @throws KerbError BadGatewayRequest when there is none in it */
export function toProvided(wire: WireValue | null | undefined): ProvidedValue {
  const value = wire?.list ? (wire.list.values ?? []).map(itemOf) : singleOf(wire);
  if (value === undefined || value === null) {
    throw new KerbError(
      ErrorCode.BadGatewayRequest,
      `there is no value for signal "${wire?.path ?? ''}" in the message`,
    );
  }
  return { path: wire?.path ?? '', value, timeUs: Number(wire?.timeUs ?? 0) };
}

/** The other way round. */
export function toWire({ path, value, timeUs, source, stale }: SignalValue): WireValue {
  return { path, timeUs, source, stale, ...toWireFields(value) };
}

function singleOf(wire: WireValue | null | undefined): SignalDatum | null | undefined {
  return wire?.digits ? integerOf(wire.digits, wire.path ?? '') : (wire?.number ?? wire?.boolean ?? wire?.text);
}

/** An item of a list. @throws KerbError BadGatewayRequest when it is a list itself, or nothing */
function itemOf(wire: WireValue): SignalDatum {
  const { value } = toProvided(wire);
  if (!isListValue(value)) return value;
  throw new KerbError(ErrorCode.BadGatewayRequest, 'a list in a list is not a value of a signal');
}

/** @throws KerbError BadGatewayRequest */
function integerOf(digits: string, path: string): SignalDatum {
  if (/^-?\d{1,160}$/.test(digits)) return exact(BigInt(digits));
  throw new KerbError(ErrorCode.BadGatewayRequest, `the digits of the value for signal "${path}" are not an integer`);
}

function mustNotExceed(count: number, what: string): void {
  if (count <= MAX_PATHS) return;
  throw new KerbError(ErrorCode.TooManyRequests, `${count} ${what} in one request; the limit is ${MAX_PATHS}`);
}

/**
 * OpenProviderStream: a container that serves actuators and publishes often.
 *
 * Claims (ProvideActuation, ProvideSignal) are strict: the stream ends with NOT_FOUND, PERMISSION_DENIED,
 * INVALID_ARGUMENT (no actuator) or ALREADY_EXISTS (somebody serves it). Signals may have several providers; they rank.
 * Publishing is lenient: what is wrong is answered signal by signal, and the rest is taken.
 */
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../../shared/base/errors.ts';
import { kuksa } from '../../../shared/protocol/generated/kuksa.js';
import type { ActuationTarget } from '../../../shared/vss/signal.ts';
import { valueFault } from '../../../shared/vss/signal-list.ts';
import type { KuksaSignals } from './signals.ts';
import { fromWireValue, timeOf, toWireValue } from './values.ts';

const { ErrorCode: WireCode } = kuksa.val.v2;
export type ProviderRequest = kuksa.val.v2.OpenProviderStreamRequest.$Properties;
export type ProviderResponse = kuksa.val.v2.OpenProviderStreamResponse.$Properties;
type WireError = kuksa.val.v2.Error.$Properties;

/** Actuations of one path that the provider may have left unanswered. */
const MAX_PENDING = 16;
/** Paths in one message. */
const MAX_PATHS = 4096;

interface Pending {
  readonly resolve: () => void;
  readonly reject: (error: KerbError) => void;
}

/** What a provider is written to. */
export interface ProviderSink {
  write(message: ProviderResponse): void;
  /** It does not read what it was written before. */
  readonly isFull: boolean;
}

export class ProviderStream {
  readonly #signals: KuksaSignals;
  readonly #sink: ProviderSink;
  readonly #pending = new Map<string, Pending[]>();
  #ends: (() => void)[] = [];

  constructor(signals: KuksaSignals, sink: ProviderSink) {
    this.#signals = signals;
    this.#sink = sink;
  }

  /** @throws KerbError when the stream is to end with it */
  receive(message: ProviderRequest): void {
    const { provideActuationRequest, provideSignalRequest, publishValuesRequest, batchActuateStreamResponse } = message;
    if (provideActuationRequest) {
      this.#serve(provideActuationRequest.actuatorIdentifiers ?? []);
      this.#sink.write({ provideActuationResponse: {} });
    } else if (provideSignalRequest) {
      const ids = limited(Object.keys(provideSignalRequest.signalsSampleIntervals ?? {}));
      for (const id of ids) this.#signals.service.guard.signal('provide', this.#signals.pathOf(Number(id)));
      this.#sink.write({ provideSignalResponse: {} });
    } else if (publishValuesRequest) this.#publish(publishValuesRequest);
    else if (batchActuateStreamResponse) this.#answered(batchActuateStreamResponse);
    // What else there is answers questions that this OBU does not ask.
  }

  /** The stream is gone: nothing is served any more, and who waits for an answer hears of it. */
  close(): void {
    for (const end of this.#ends) end();
    this.#ends = [];
    for (const [path, pending] of this.#pending)
      for (const one of pending) one.reject(refused(path, 'it disconnected'));
    this.#pending.clear();
  }

  #serve(identifiers: readonly kuksa.val.v2.SignalID.$Properties[]): void {
    const paths = limited(identifiers).map((signal) => this.#signals.infoOf(signal).path);
    for (const path of paths) this.#signals.service.guard.signal('provide', path);
    const together = (targets: readonly ActuationTarget[]) => this.#actuate(targets);
    this.#ends.push(
      this.#signals.service.provider.serve(paths, (path, value) => together([{ path, value }]), together),
    );
  }

  /** Asks for all in one message; each is answered by itself. */
  async #actuate(targets: readonly ActuationTarget[]): Promise<void> {
    if (this.#sink.isFull) throw refused(targets[0]!.path, 'it does not read what it is asked');
    const answers = targets.map(({ path }) => this.#expect(path));
    const actuateRequests = targets.map(({ path, value }) => ({
      signalId: { path },
      value: toWireValue(this.#signals.source.info(path)!, value),
    }));
    this.#sink.write({ batchActuateStreamRequest: { actuateRequests } });
    await Promise.all(answers);
  }

  #expect(path: string): Promise<void> {
    const pending = this.#pending.get(path) ?? [];
    this.#pending.set(path, pending);
    if (pending.length >= MAX_PENDING) pending.shift()!.reject(refused(path, 'it leaves actuations unanswered'));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    pending.push({ resolve, reject });
    return promise;
  }

  #answered({ signalId, error }: kuksa.val.v2.BatchActuateStreamResponse.$Properties): void {
    const { path } = this.#signals.infoOf(signalId);
    const pending = this.#pending.get(path)?.shift();
    const isFine = !error || error.code === WireCode.ERROR_CODE_OK || !error.code;
    if (isFine) pending?.resolve();
    else pending?.reject(refused(path, error.message || 'it gave no reason'));
  }

  #publish({ requestId, dataPoints }: kuksa.val.v2.PublishValuesRequest.$Properties): void {
    const status: Record<number, WireError> = {};
    const ids = limited(Object.keys(dataPoints ?? {})).map(Number);
    const values = ids.flatMap((id) => {
      try {
        const info = this.#signals.infoOf({ path: this.#signals.pathOf(id) });
        const point = dataPoints![id]!;
        const value = fromWireValue(info, point.value);
        this.#signals.service.guard.signal('provide', info.path);
        const fault = valueFault(info, value);
        if (fault !== undefined) throw new KerbError(ErrorCode.BadSignalValue, `${info.path} ${fault}`);
        return [{ path: info.path, value, timeUs: timeOf(point) }];
      } catch (error) {
        status[id] = toWireError(error);
        return [];
      }
    });
    // Together, so that whoever subscribed to several of them gets them in one message.
    if (values.length > 0) this.#signals.service.provide(values);
    if (Object.keys(status).length > 0)
      this.#sink.write({ publishValuesResponse: { requestId: requestId ?? 0, status } });
  }
}

function toWireError(error: unknown): WireError {
  if (!isKerbError(error)) throw error;
  const codes: Partial<Record<number, number>> = {
    [ErrorCode.UnknownSignal]: WireCode.ERROR_CODE_NOT_FOUND,
    [ErrorCode.NotGranted]: WireCode.ERROR_CODE_PERMISSION_DENIED,
  };
  return { code: codes[error.code] ?? WireCode.ERROR_CODE_INVALID_ARGUMENT, message: messageOf(error) };
}

function refused(path: string, why: string): KerbError {
  return new KerbError(ErrorCode.ActuationRefused, `${path} was not set by its provider: ${why}`, { path });
}

function limited<T>(list: readonly T[]): readonly T[] {
  if (list.length <= MAX_PATHS) return list;
  throw new KerbError(ErrorCode.TooManyRequests, `${list.length} signals in one message; the limit is ${MAX_PATHS}`);
}

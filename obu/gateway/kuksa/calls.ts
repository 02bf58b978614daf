/** How the calls of `kuksa.val.v2` are answered and refused, for one container. */
import { timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import type {
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  sendUnaryData,
  UntypedHandleCall,
} from '@grpc/grpc-js';
import { ErrorCode, isKerbError, KerbError } from '../../../shared/base/errors.ts';
import type { kuksa } from '../../../shared/protocol/generated/kuksa.js';
import type { SignalService } from '../services/signal-service.ts';
import { Pace } from './pace.ts';
import { type ProviderRequest, type ProviderResponse, ProviderStream } from './provider-stream.ts';
import { checkPath, KuksaSignals } from './signals.ts';
import { type StatusError, toStatus } from './status.ts';
import { subscribe } from './subscription.ts';
import { fromWireValue, timeOf, toDatapoint } from './values.ts';
import { wildcardMatcher } from './wildcards.ts';

type V2 = typeof kuksa.val.v2;
export type Fields<Name extends keyof V2> = V2[Name] extends new (
  properties?: infer P,
) => unknown
  ? NonNullable<P>
  : never;

/** Messages that may be kept for a slow subscriber, as in Kuksa. */
const MAX_BUFFER = 1000;

export interface KuksaServerParts {
  readonly service: SignalService;
  readonly token: string;
  /** Values that a slow subscriber lost. */
  readonly onDrop: (count: number) => void;
  /** Of every call that is refused. */
  readonly onFailure: (error: KerbError) => void;
  readonly onDefect: (error: unknown) => void;
}

/** A subscription or a provider stream. */
interface OpenCall {
  on(event: 'close' | 'cancelled' | 'error', listener: () => void): unknown;
  emit(event: 'error', error: Error): unknown;
}

type AnyCall = ServerUnaryCall<unknown, unknown> | ServerReadableStream<unknown, unknown>;

export class KuksaCalls {
  readonly signals: KuksaSignals;
  readonly #parts: KuksaServerParts;
  readonly #expected: Buffer;
  readonly #pace = new Pace();
  /** What is open, and how it is taken back. */
  readonly #open = new Map<() => void, OpenCall>();

  constructor(parts: KuksaServerParts) {
    this.#parts = parts;
    this.signals = new KuksaSignals(parts.service);
    this.#expected = Buffer.from(`Bearer ${parts.token}`);
  }

  endStreams(why: string): void {
    for (const [end, call] of [...this.#open]) {
      end();
      call.emit('error', toStatus(new KerbError(ErrorCode.GatewayUnavailable, why)));
    }
  }

  unary<Request>(answer: (request: Request) => object | Promise<object>): UntypedHandleCall {
    return (call: ServerUnaryCall<Request, object>, done: sendUnaryData<object>) => {
      const run = async () => {
        this.#authenticate(call);
        await this.#pace.turn();
        return answer(call.request);
      };
      run().then(
        (response) => done(null, response),
        (error: unknown) => done(this.#toStatus(error)),
      );
    };
  }

  /**
   * Subscribe and SubscribeById: the values at once, then what comes. INVALID_ARGUMENT for a buffer of more than 1000
   * messages, and for what is neither a path nor a pattern (wildcards.ts). Of a branch or a pattern, leaves that may not
   * be read are left out.
   */
  subscription<Request extends { bufferSize?: number | null; filter?: Fields<'Filter'> | null }>(
    pathsOf: (request: Request, signals: KuksaSignals) => readonly string[],
    keyOf: (path: string, signals: KuksaSignals) => string | number,
  ): UntypedHandleCall {
    return (call: ServerWritableStream<Request, object>) => {
      try {
        this.#authenticate(call);
        const { bufferSize, filter } = call.request;
        if ((bufferSize ?? 0) > MAX_BUFFER) {
          throw new KerbError(ErrorCode.BadGatewayRequest, `a buffer has at most ${MAX_BUFFER} messages`);
        }
        const paths = pathsOf(call.request, this.signals);
        paths.forEach(checkPath);
        const leaves = this.#parts.service.leaves(paths, wildcardMatcher);
        const end = subscribe(this.signals, leaves, {
          call,
          keyOf: (path) => keyOf(path, this.signals),
          bufferSize: bufferSize ?? 0,
          minIntervalMs: filter?.minSampleInterval?.intervalMs ?? 0,
          durationMs: filter?.durationMs ?? 0,
          onDrop: this.#parts.onDrop,
        });
        this.#whileOpen(call, end);
      } catch (error) {
        call.emit('error', this.#toStatus(error));
      }
    };
  }

  datapoint(signal: Fields<'SignalID'> | null | undefined): Fields<'Datapoint'> {
    const info = this.signals.readable(signal);
    return toDatapoint(info, this.signals.source.get(info.path));
  }

  /**
   * All of them, or none when one cannot be; what one provider serves it gets in one message. Answered when the vehicle has acknowledged: DEADLINE_EXCEEDED when it does
   * not in time, ABORTED when the provider refuses, UNAVAILABLE when nothing sets the actuator now or the bus is down;
   * INVALID_ARGUMENT for what is no actuator, or no value of it.
   */
  async actuate(requests: readonly Fields<'ActuateRequest'>[]): Promise<object> {
    const targets = requests.map(({ signalId, value }) => this.signals.target(signalId, value));
    await this.#parts.service.actuateAll(targets, 0);
    return {};
  }

  /** The errors of Actuate; the first one ends the stream. */
  actuateStream(): UntypedHandleCall {
    return (call: ServerReadableStream<Fields<'ActuateRequest'>, object>, done: sendUnaryData<object>) => {
      let last: Promise<unknown> = Promise.resolve();
      let isOver = false;
      const finish = (error: unknown) => {
        if (isOver) return;
        isOver = true;
        if (error === undefined) done(null, {});
        else done(this.#toStatus(error));
      };
      try {
        this.#authenticate(call);
      } catch (error) {
        finish(error);
        return;
      }
      call.on('data', (request: Fields<'ActuateRequest'>) => {
        if (isOver) return;
        call.pause();
        last = this.#pace
          .turn()
          .then(() => this.actuate([request]))
          .then(() => call.resume(), finish);
      });
      call.on('end', () => void last.then(() => finish(undefined)));
      call.on('error', () => {
        isOver = true;
      });
    };
  }

  /** INVALID_ARGUMENT for a value of another type, or beyond the limits of the leaf. */
  publish({ signalId, dataPoint }: Fields<'PublishValueRequest'>): object {
    const info = this.signals.infoOf(signalId);
    this.#parts.service.guard.signal('provide', info.path);
    const value = fromWireValue(info, dataPoint?.value);
    this.#parts.service.provide([{ path: info.path, value, timeUs: timeOf(dataPoint ?? {}) }]);
    return {};
  }

  providerStream(): UntypedHandleCall {
    return (call: ServerDuplexStream<ProviderRequest, ProviderResponse>) => {
      const stream = new ProviderStream(this.signals, {
        write: (message) => call.write(message),
        get isFull() {
          return call.writableNeedDrain;
        },
      });
      const end = this.#whileOpen(call, () => stream.close());
      const fail = (error: unknown) => {
        end();
        call.emit('error', this.#toStatus(error));
      };
      try {
        this.#authenticate(call);
      } catch (error) {
        fail(error);
        return;
      }
      call.on('data', (message: ProviderRequest) => {
        try {
          stream.receive(message);
        } catch (error) {
          fail(error);
          return;
        }
        // Who does not read the answers is not read from either.
        call.pause();
        const drained = call.writableNeedDrain ? once(call, 'drain') : undefined;
        Promise.all([this.#pace.turn(), drained]).then(
          () => call.resume(),
          () => {}, // it failed meanwhile, and has ended
        );
      });
      call.on('end', () => {
        end();
        call.end();
      });
    };
  }

  /** Calls `end` once, whichever way the call ends, or when the server stops. */
  #whileOpen(call: OpenCall, end: () => void) {
    const endOnce = () => {
      if (this.#open.delete(endOnce)) end();
    };
    this.#open.set(endOnce, call);
    for (const event of ['close', 'cancelled', 'error'] as const) call.on(event, endOnce);
    return endOnce;
  }

  /** @throws KerbError Unauthenticated */
  #authenticate(call: Pick<AnyCall, 'metadata'>): void {
    const [given] = call.metadata.get('authorization');
    const bytes = Buffer.from(given ?? '');
    if (bytes.length === this.#expected.length && timingSafeEqual(bytes, this.#expected)) return;
    const why = given === undefined ? 'there is no token' : 'the token is not that of this container';
    throw new KerbError(
      ErrorCode.KuksaUnauthenticated,
      `${why}: send "authorization: Bearer TOKEN" with what is in the file that KUKSA_TOKEN_FILE names`,
    );
  }

  #toStatus(error: unknown): StatusError {
    if (isKerbError(error)) this.#parts.onFailure(error);
    else this.#parts.onDefect(error);
    return toStatus(error);
  }
}

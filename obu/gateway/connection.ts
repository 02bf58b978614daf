import type { Socket } from 'node:net';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { DelimitedReader, MAX_CLIENT_MESSAGE } from '../../shared/protocol/framing.ts';
import type { kerbside } from '../../shared/protocol/generated/gateway.js';
import type { DenialReason } from '../can/write-guard.ts';
import type { GrantGuard } from '../grants/grants.ts';
import { failureOf, toKerbError } from './failure.ts';
import { decodeMessage, MAX_PLAIN } from './large-message.ts';
import { HELLO_MS, MESSAGE_MS, ReceiveTimeout, StalledReaderDetector } from './receive-timeout.ts';
import type { CanService } from './services/can-service.ts';
import { MAX_OPEN, type OffloadService } from './services/offload-service.ts';
import { type SignalService, type SignalServiceMeter, toProvided, toWire } from './services/signal-service.ts';
import { Outbox, type Sink, type Stream } from './streams/outbox.ts';
import {
  cameraSubscription,
  canSubscription,
  type StreamOfGrant,
  type SubscriptionMeter,
} from './streams/subscriptions.ts';
import { encodeMessage, encodeSignalValues, type ServerMessageFields, toWireGrant } from './streams/wire.ts';

type ClientMessage = kerbside.gateway.v1.ClientMessage;

export const PROTOCOL_VERSION = 1;
export const MAX_SUBSCRIPTIONS = 32;
/** Messages that are handled in one go; a container that sends more at once waits, so that nobody else has to. */
const MAX_BURST = 32;
const BURST_PAUSE_MS = 5;
/** How long a connection that is being closed may take to read the reason. */
const LINGER_MS = 1000;

/** What the gateway counts; the metrics and the status page of the OBU read it. */
export interface GatewayMeter extends SignalServiceMeter, SubscriptionMeter {
  canDenied(workload: string, reason: DenialReason): void;
  offloadStarted(): void;
  offloadDone(receipt: { readonly totalMs: number; readonly queueMs: number; readonly runMs: number }): void;
  /** @param totalMs from when the workload asked */
  offloadFailed(totalMs: number): void;
  /** A refusal or failure that a person may want to see. */
  failure(workload: string, error: KerbError): void;
}

export interface ConnectionContext {
  readonly vehicle: string;
  readonly obu: string;
  readonly guard: GrantGuard;
  readonly offloads: OffloadService;
  readonly can: CanService;
  readonly signals: SignalService;
  readonly meter: GatewayMeter;
  readonly log: Logger;
  /** False while this workload has filled its share of the log. */
  readonly mayLog: () => boolean;
  /** Since when its container has not been frozen, by `performance.now()`; undefined while it is. */
  readonly awakeSinceMs: () => number | undefined;
}

/** The kinds of grants that subscriptions depend on. */
export type GrantKind = 'can' | 'signals' | 'cameras';

interface Subscription extends StreamOfGrant {
  readonly kind: GrantKind;
  /** Takes the stream off its source. */
  end: () => void;
}

/**
 * One connection of a container. Nothing that it sends can do more than end this connection: what is malformed is
 * answered and logged, what breaks the protocol ends the connection with a reason.
 */
export class Connection {
  readonly #context: ConnectionContext;
  readonly #socket: Socket;
  readonly #outbox: Outbox;
  readonly #reader: DelimitedReader;
  /** Messages that have come and wait for their turn; while there are any, the socket is not read. */
  readonly #inbox: Buffer[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #hello: ReceiveTimeout;
  readonly #message: ReceiveTimeout;
  readonly #reading: StalledReaderDetector;
  #crowded = false;
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #offloads = new Set<number>();
  readonly #actuations = new Set<number>();
  #phase: 'greeting' | 'open' | 'closed' = 'greeting';

  /** @param write Hands bytes to the socket. */
  constructor(socket: Socket, write: (bytes: Uint8Array) => void, context: ConnectionContext) {
    this.#socket = socket;
    this.#context = context;
    const sink: Sink = {
      write,
      get pending() {
        return socket.writableLength;
      },
      cork: () => socket.cork(),
      uncork: () => socket.uncork(),
    };
    // Without offloads there is nothing large to say.
    this.#reader = new DelimitedReader(context.guard.workload.grants.offload ? MAX_CLIENT_MESSAGE : MAX_PLAIN);
    this.#outbox = new Outbox(
      sink,
      (crowded) => {
        this.#crowded = crowded;
        if (crowded) socket.pause();
        else this.#work();
      },
      (full) => {
        if (full) this.#reading.begin();
        else this.#reading.end();
      },
    );
    const { awakeSinceMs } = context;
    this.#hello = new ReceiveTimeout(HELLO_MS, awakeSinceMs, () => this.#tooSlow('its Hello', HELLO_MS));
    this.#message = new ReceiveTimeout(MESSAGE_MS, awakeSinceMs, () =>
      this.#tooSlow('the rest of a message', MESSAGE_MS),
    );
    this.#reading = new StalledReaderDetector(socket, awakeSinceMs, (error) => this.#note(error));
    this.#hello.begin();
    socket.on('drain', () => this.#outbox.drained());
  }

  /** Bytes from the container. Never throws. */
  receive(chunk: Buffer): void {
    if (this.#phase === 'closed') return;
    try {
      const complete = this.#reader.push(chunk);
      if (complete.length > 0) this.#message.end();
      for (const bytes of complete) this.#inbox.push(bytes);
    } catch (error) {
      this.#end(0, toKerbError(error, this.#context.log));
    }
    this.#work();
    if (this.#isClosed()) return;
    if (this.#reader.isWaiting) this.#message.begin();
  }

  /** Handles a burst of what has come. Whoever it waits for, answers to leave or its own timer, calls it again. */
  #work(): void {
    if (this.#crowded || this.#timer !== undefined) return;
    try {
      for (const bytes of this.#inbox.splice(0, MAX_BURST)) {
        if (this.#isClosed()) return;
        this.#handle(decodeMessage(bytes));
      }
    } catch (error) {
      this.#end(0, toKerbError(error, this.#context.log));
    }
    if (this.#isClosed()) return;
    if (this.#inbox.length > 0) {
      this.#socket.pause();
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#work();
      }, BURST_PAUSE_MS);
    } else if (!this.#crowded) this.#socket.resume();
  }

  /** The socket is gone, or the gateway stops. */
  close(): void {
    this.#phase = 'closed';
    this.#inbox.length = 0;
    clearTimeout(this.#timer);
    for (const patience of [this.#hello, this.#message, this.#reading]) patience.end();
    for (const [request, subscription] of this.#subscriptions) this.#forget(request, subscription);
    this.#outbox.discard();
  }

  /**
   * The grants have changed. What is still granted goes on, within its new bounds; what is not ends now, and the
   * container is told why.
   */
  regrant(kinds: ReadonlySet<GrantKind>): void {
    for (const [request, subscription] of this.#subscriptions) {
      if (!kinds.has(subscription.kind)) continue;
      subscription.end();
      try {
        subscription.end = subscription.subscribe();
      } catch (error) {
        subscription.end = () => {};
        this.#forget(request, subscription);
        const { code, message, context } = toKerbError(error, this.#context.log);
        this.#fail(request, new KerbError(code, `the manifest has changed: ${message}`, context));
      }
    }
  }

  // A method, because the phase changes while messages of one chunk are handled and the compiler can't see that.
  #isClosed(): boolean {
    return this.#phase === 'closed';
  }

  #handle(message: ClientMessage): void {
    const { request } = message;
    if (request === 0) throw new KerbError(ErrorCode.BadGatewayRequest, 'request 0 is not a request');
    if ([this.#subscriptions, this.#offloads, this.#actuations].some((open) => open.has(request))) {
      throw new KerbError(ErrorCode.BadGatewayRequest, `request ${request} is still open; its number was used again`);
    }
    if (this.#phase === 'greeting') {
      this.#greet(message);
      return;
    }
    try {
      this.#dispatch(request, message);
    } catch (error) {
      this.#fail(request, toKerbError(error, this.#context.log));
    }
  }

  #greet({ request, hello }: ClientMessage): void {
    if (!hello) throw new KerbError(ErrorCode.BadGatewayRequest, 'the first message of a connection has to be a Hello');
    if (hello.version !== PROTOCOL_VERSION) {
      const error = new KerbError(
        ErrorCode.BadGatewayRequest,
        `this OBU speaks version ${PROTOCOL_VERSION} of the gateway protocol and the workload asked for version ` +
          `${hello.version ?? 0}; build it with the app SDK of this OBU`,
      );
      this.#end(request, error);
      return;
    }
    const { vehicle, obu, log } = this.#context;
    const { workload } = this.#context.guard;
    const { can, cameras, offload, signals } = workload.grants;
    this.#phase = 'open';
    this.#hello.end();
    if (this.#context.mayLog()) {
      log.info({ workload: workload.name, client: String(hello.client ?? '').slice(0, 100) }, 'workload connected');
    }
    this.#answer({
      request,
      welcome: {
        version: PROTOCOL_VERSION,
        workload: workload.name,
        vehicle,
        obu,
        grants: {
          can: can.map(toWireGrant),
          signals: signals.map(({ text }) => text),
          cameras: cameras.map(({ name, maxFps }) => ({ name, maxFps })),
          offload: offload && { tasks: [...offload.tasks], maxBudgetMs: offload.maxBudgetMs },
        },
      },
    });
  }

  #dispatch(request: number, message: ClientMessage): void {
    const { subscribeCan, subscribeSignals, subscribeCamera, unsubscribe, offload, hello, sendCan } = message;
    const { getSignals, actuate, provideSignals } = message;
    if (subscribeCan) this.#subscribeCan(request, subscribeCan);
    else if (sendCan) this.#sendCan(request, sendCan);
    else if (subscribeSignals) this.#subscribeSignals(request, subscribeSignals);
    else if (subscribeCamera) this.#subscribeCamera(request, subscribeCamera);
    else if (unsubscribe) this.#unsubscribe(request, unsubscribe.subscription ?? 0);
    else if (offload) this.#offload(request, offload);
    else if (getSignals) this.#getSignals(request, getSignals.paths ?? []);
    else if (actuate) this.#actuate(request, actuate);
    else if (provideSignals) this.#provideSignals(request, provideSignals.values ?? []);
    else if (hello) throw new KerbError(ErrorCode.BadGatewayRequest, 'this connection has said Hello already');
    else throw new KerbError(ErrorCode.BadGatewayRequest, 'this OBU does not know what that message asks for');
  }

  #subscribeCan(request: number, ask: kerbside.gateway.v1.SubscribeCan.$Properties): void {
    this.#mustHaveRoom();
    const { stream, subscribe } = canSubscription(request, ask, this.#context, this.#wake, this);
    this.#open(request, 'can', stream, subscribe);
  }

  #sendCan(request: number, ask: kerbside.gateway.v1.SendCan.$Properties): void {
    this.#context.can.send(ask, this);
    this.#answer({ request, accepted: {} });
  }

  #subscribeSignals(request: number, ask: kerbside.gateway.v1.SubscribeSignals.$Properties): void {
    this.#mustHaveRoom();
    const options = { minIntervalMs: ask.minIntervalMs ?? 0, onChange: ask.onChange ?? false };
    const { stream, subscribe } = this.#context.signals.subscription(request, ask.paths ?? [], options, this.#wake);
    this.#open(request, 'signals', stream, subscribe);
  }

  #getSignals(request: number, paths: readonly string[]): void {
    const values = this.#context.signals.get(paths);
    if (this.#phase !== 'closed') this.#outbox.answer([encodeSignalValues(request, values, 0)]);
  }

  #provideSignals(request: number, values: readonly kerbside.gateway.v1.SignalValue.$Properties[]): void {
    this.#context.signals.provide(values.map(toProvided));
    this.#answer({ request, accepted: {} });
  }

  #actuate(request: number, ask: kerbside.gateway.v1.Actuate.$Properties): void {
    const { path, value } = toProvided(ask.value);
    this.#actuations.add(request);
    this.#context.signals.actuate(path, value, ask.timeoutMs ?? 0).then(
      (done) => {
        this.#actuations.delete(request);
        this.#answer({ request, actuateDone: done ? { acknowledged: toWire(done) } : {} });
      },
      (error: unknown) => {
        this.#actuations.delete(request);
        this.#fail(request, toKerbError(error, this.#context.log));
      },
    );
  }

  #subscribeCamera(request: number, ask: kerbside.gateway.v1.SubscribeCamera.$Properties): void {
    this.#mustHaveRoom();
    const { stream, subscribe } = cameraSubscription(request, ask, this.#context, this.#wake);
    this.#open(request, 'cameras', stream, subscribe);
  }

  /** Answers leave before streams, so the container hears of the subscription before its first value. */
  #open(request: number, kind: GrantKind, stream: Stream, subscribe: Subscription['subscribe']): void {
    this.#subscriptions.set(request, { kind, stream, subscribe, end: subscribe() });
    this.#answer({ request, accepted: {} });
  }

  #forget(request: number, { stream, end }: Subscription): void {
    end();
    stream.end?.();
    this.#outbox.forget(stream);
    this.#subscriptions.delete(request);
  }

  #unsubscribe(request: number, subscription: number): void {
    const open = this.#subscriptions.get(subscription);
    if (open === undefined) {
      throw new KerbError(ErrorCode.BadGatewayRequest, `there is no subscription ${subscription} to end`);
    }
    this.#forget(subscription, open);
    this.#answer({ request, accepted: {} });
  }

  #offload(request: number, ask: kerbside.gateway.v1.Offload.$Properties): void {
    const { offloads: desk, meter } = this.#context;
    if (this.#offloads.size >= MAX_OPEN) {
      throw new KerbError(
        ErrorCode.TooManyRequests,
        `${MAX_OPEN} offloads are open on this connection, which is the limit`,
      );
    }
    this.#offloads.add(request);
    meter.offloadStarted();
    const startedAt = performance.now();
    const id = ask.id ?? '';
    const input = ask.input ?? new Uint8Array();
    const [task, isolation, budgetMs] = [ask.task ?? '', ask.isolation ?? '', ask.budgetMs ?? 0];
    desk.submit({ id, task, input, budgetMs, isolation }).then(
      ({ taskDigest, result }) => {
        meter.offloadDone(result);
        const { output, place, isolation, queueMs, runMs, totalMs } = result;
        this.#answer(
          { request, offloadDone: { id, output, receipt: { place, taskDigest, isolation, queueMs, runMs, totalMs } } },
          // The number is free again, and no more are taken in, once the result is on its way.
          () => this.#offloads.delete(request),
        );
      },
      (error: unknown) => {
        meter.offloadFailed(performance.now() - startedAt);
        this.#offloads.delete(request);
        this.#fail(request, toKerbError(error, this.#context.log));
      },
    );
  }

  readonly #wake = (stream: Stream): void => this.#outbox.wake(stream);

  #mustHaveRoom(): void {
    if (this.#subscriptions.size < MAX_SUBSCRIPTIONS) return;
    throw new KerbError(
      ErrorCode.TooManyRequests,
      `${MAX_SUBSCRIPTIONS} subscriptions are open on this connection, which is the limit`,
    );
  }

  #answer(message: ServerMessageFields, sent?: () => void): void {
    if (this.#phase === 'closed') return;
    this.#outbox.answer(encodeMessage(message), sent);
  }

  #fail(request: number, error: KerbError): void {
    this.#note(error, request);
    this.#answer({ request, failure: failureOf(error) });
  }

  #note(error: KerbError, request = 0): void {
    const { meter, log } = this.#context;
    const { workload } = this.#context.guard;
    meter.failure(workload.name, error);
    if (!this.#context.mayLog()) return;
    log.warn({ workload: workload.name, request, code: error.code, reason: error.message }, 'gateway request refused');
  }

  #tooSlow(what: string, ms: number): void {
    const message = `${what} has not come for ${ms / 1000} s; its connection is ended`;
    this.#end(0, new KerbError(ErrorCode.KeptWaiting, message));
  }

  /** Says why and ends the connection. */
  #end(request: number, error: KerbError): void {
    this.#fail(request, error);
    this.#outbox.close();
    this.close();
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
  }
}

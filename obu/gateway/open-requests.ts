import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { kerbside } from '../../shared/protocol/generated/gateway.js';
import type { ConnectionContext } from './connection-context.ts';
import { toKerbError } from './failure.ts';
import { MAX_OPEN } from './services/offload-service.ts';
import { toProvided, toWire } from './services/signal-service.ts';
import type { Outbox, Stream } from './streams/outbox.ts';
import { cameraSubscription, canSubscription, type StreamOfGrant } from './streams/subscriptions.ts';
import { encodeSignalValues, type ServerMessageFields } from './streams/wire.ts';

type ClientMessage = kerbside.gateway.v1.ClientMessage;

export const MAX_SUBSCRIPTIONS = 32;

/** The kinds of grants that subscriptions depend on. */
export type GrantKind = 'can' | 'signals' | 'cameras';

interface Subscription extends StreamOfGrant {
  readonly kind: GrantKind;
  /** Takes the stream off its source. */
  end: () => void;
}

/** The way back to the container. */
export interface AnswerWay {
  /** @param sent Called when it is on its way. */
  answer(message: ServerMessageFields, sent?: () => void): void;
  /** The same for a message that is bytes already. */
  answerBytes(bytes: readonly Uint8Array[]): void;
  fail(request: number, error: KerbError): void;
}

/** What the container has asked for on one connection after its Hello, and what of it is still open. */
export class OpenRequests {
  readonly #context: ConnectionContext;
  readonly #outbox: Outbox;
  readonly #way: AnswerWay;
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #offloads = new Set<number>();
  readonly #actuations = new Set<number>();
  readonly #stateRequests = new Set<number>();

  constructor(context: ConnectionContext, outbox: Outbox, way: AnswerWay) {
    this.#context = context;
    this.#outbox = outbox;
    this.#way = way;
  }

  /** Whether a request of this number is open. */
  has(request: number): boolean {
    return [this.#subscriptions, this.#offloads, this.#actuations, this.#stateRequests].some((one) => one.has(request));
  }

  /** Answers the message, or opens what it asks for. Never throws. */
  handle(message: ClientMessage): void {
    try {
      this.#dispatch(message.request, message);
    } catch (error) {
      this.#way.fail(message.request, toKerbError(error, this.#context.log));
    }
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
        this.#way.fail(request, new KerbError(code, `the manifest has changed: ${message}`, context));
      }
    }
  }

  /** Takes all streams off their sources. */
  close(): void {
    for (const [request, subscription] of this.#subscriptions) this.#forget(request, subscription);
  }

  #dispatch(request: number, message: ClientMessage): void {
    const { subscribeCan, subscribeSignals, subscribeCamera, unsubscribe, offload, hello, sendCan } = message;
    const { getSignals, actuate, provideSignals, useState } = message;
    if (subscribeCan) this.#subscribeCan(request, subscribeCan);
    else if (sendCan) this.#sendCan(request, sendCan);
    else if (subscribeSignals) this.#subscribeSignals(request, subscribeSignals);
    else if (subscribeCamera) this.#subscribeCamera(request, subscribeCamera);
    else if (unsubscribe) this.#unsubscribe(request, unsubscribe.subscription ?? 0);
    else if (offload) this.#offload(request, offload);
    else if (getSignals) this.#getSignals(request, getSignals.paths ?? []);
    else if (actuate) this.#actuate(request, actuate);
    else if (provideSignals) this.#provideSignals(request, provideSignals.values ?? []);
    else if (useState) this.#useState(request, useState);
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
    this.#way.answer({ request, accepted: {} });
  }

  #subscribeSignals(request: number, ask: kerbside.gateway.v1.SubscribeSignals.$Properties): void {
    this.#mustHaveRoom();
    const options = { minIntervalMs: ask.minIntervalMs ?? 0, onChange: ask.onChange ?? false };
    const { stream, subscribe } = this.#context.signals.subscription(request, ask.paths ?? [], options, this.#wake);
    this.#open(request, 'signals', stream, subscribe);
  }

  #getSignals(request: number, paths: readonly string[]): void {
    const values = this.#context.signals.get(paths);
    this.#way.answerBytes([encodeSignalValues(request, values, 0)]);
  }

  #provideSignals(request: number, values: readonly kerbside.gateway.v1.SignalValue.$Properties[]): void {
    this.#context.signals.provide(values.map(toProvided));
    this.#way.answer({ request, accepted: {} });
  }

  #actuate(request: number, ask: kerbside.gateway.v1.Actuate.$Properties): void {
    const { path, value } = toProvided(ask.value);
    this.#actuations.add(request);
    this.#context.signals.actuate(path, value, ask.timeoutMs ?? 0).then(
      (done) => {
        this.#actuations.delete(request);
        this.#way.answer({ request, actuateDone: done ? { acknowledged: toWire(done) } : {} });
      },
      (error: unknown) => {
        this.#actuations.delete(request);
        this.#way.fail(request, toKerbError(error, this.#context.log));
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
    this.#way.answer({ request, accepted: {} });
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
    this.#way.answer({ request, accepted: {} });
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
    desk.submit({ id, task, input, budgetMs, isolation, stateKey: ask.stateKey ?? '' }).then(
      ({ taskDigest, result }) => {
        meter.offloadDone(result);
        const { output, place, isolation, queueMs, runMs, totalMs } = result;
        this.#way.answer(
          { request, offloadDone: { id, output, receipt: { place, taskDigest, isolation, queueMs, runMs, totalMs } } },
          // The number is free again, and no more are taken in, once the result is on its way.
          () => this.#offloads.delete(request),
        );
      },
      (error: unknown) => {
        meter.offloadFailed(performance.now() - startedAt);
        this.#offloads.delete(request);
        this.#way.fail(request, toKerbError(error, this.#context.log));
      },
    );
  }

  #useState(request: number, ask: kerbside.gateway.v1.UseState.$Properties): void {
    this.#stateRequests.add(request);
    this.#context.state.use(ask).then(
      ({ version, value, expiresInMs }) => {
        const stateDone = { version, value, expiresInMs };
        // As with offloads: no more are taken in before the answer is on its way.
        this.#way.answer({ request, stateDone }, () => this.#stateRequests.delete(request));
      },
      (error: unknown) => {
        this.#stateRequests.delete(request);
        this.#way.fail(request, toKerbError(error, this.#context.log));
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
}

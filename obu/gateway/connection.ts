import type { Socket } from 'node:net';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { DelimitedReader, MAX_CLIENT_MESSAGE } from '../../shared/protocol/framing.ts';
import type { kerbside } from '../../shared/protocol/generated/gateway.js';
import type { ConnectionContext } from './connection-context.ts';
import { failureOf, toKerbError } from './failure.ts';
import { decodeMessage, MAX_PLAIN } from './large-message.ts';
import { type GrantKind, OpenRequests } from './open-requests.ts';
import { HELLO_MS, MESSAGE_MS, ReceiveTimeout, StalledReaderDetector } from './receive-timeout.ts';
import { Outbox, type Sink } from './streams/outbox.ts';
import { encodeMessage, type ServerMessageFields, toWireGrant } from './streams/wire.ts';

type ClientMessage = kerbside.gateway.v1.ClientMessage;

export const PROTOCOL_VERSION = 1;
/** Messages that are handled in one go; a container that sends more at once waits, so that nobody else has to. */
const MAX_BURST = 32;
const BURST_PAUSE_MS = 5;
/** How long a connection that is being closed may take to read the reason. */
const LINGER_MS = 1000;

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
  readonly #requests: OpenRequests;
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
    this.#requests = new OpenRequests(context, this.#outbox, {
      answer: (message, sent) => this.#answer(message, sent),
      answerBytes: (bytes) => {
        if (this.#phase !== 'closed') this.#outbox.answer(bytes);
      },
      fail: (request, error) => this.#fail(request, error),
    });
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
    this.#requests.close();
    this.#outbox.discard();
  }

  /** The grants have changed: see OpenRequests. */
  regrant(kinds: ReadonlySet<GrantKind>): void {
    this.#requests.regrant(kinds);
  }

  // A method, because the phase changes while messages of one chunk are handled and the compiler can't see that.
  #isClosed(): boolean {
    return this.#phase === 'closed';
  }

  #handle(message: ClientMessage): void {
    const { request } = message;
    if (request === 0) throw new KerbError(ErrorCode.BadGatewayRequest, 'request 0 is not a request');
    if (this.#requests.has(request)) {
      throw new KerbError(ErrorCode.BadGatewayRequest, `request ${request} is still open; its number was used again`);
    }
    if (this.#phase === 'greeting') this.#greet(message);
    else this.#requests.handle(message);
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
          offload: offload && {
            ...{ tasks: [...offload.tasks], maxBudgetMs: offload.maxBudgetMs },
            state: [...(offload.state ?? [])],
          },
        },
      },
    });
  }

  #answer(message: ServerMessageFields, sent?: () => void): void {
    if (this.#phase !== 'closed') this.#outbox.answer(encodeMessage(message), sent);
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

import { ErrorCode, KerbError } from '../base/errors.ts';
import { Link } from './link.ts';
import { type ClientFields, type Grants, type ServerMessage, toError, toGrants } from './messages.ts';

const PROTOCOL_VERSION = 1;
const CLIENT = '@kerbside/app-sdk 0.1.0';

/** Something that is open, and can be asked for again on another connection. */
export interface OpenRequest {
  /** The message to send; undefined when it is no longer needed. */
  readonly body: () => ClientFields | undefined;
  readonly onMessage: (message: ServerMessage) => void;
  readonly onFailure: (error: KerbError) => void;
  /** On a further connection, before it is sent again. */
  readonly onReopen?: () => void;
  /** The connection on which it was sent is gone. */
  readonly onDown?: (why: string) => void;
  /** Its number on the present connection; 0 before it was sent. */
  request: number;
}

/** The open requests on the connection to the OBU, which are repeated on the next one. */
export class Requests {
  readonly #path: string;
  readonly #link: Link;
  readonly #open = new Set<OpenRequest>();
  readonly #byRequest = new Map<number, OpenRequest>();
  #lastRequest = 0;
  #hello = 0;
  #ready = false;
  #closed = false;
  #whyDown = 'it has not answered yet';
  #welcome: (() => void) | undefined;
  #refused: ((error: KerbError) => void) | undefined;
  workload = '';
  vehicle = '';
  obu = '';
  grants: Grants = toGrants(undefined);

  constructor(path: string) {
    this.#path = path;
    this.#link = new Link(path, {
      up: () => this.#sayHello(),
      message: (message) => this.#receive(message),
      down: (why) => {
        this.#ready = false;
        const sent = [...this.#byRequest.values()];
        this.#byRequest.clear();
        this.#whyDown = why;
        for (const open of sent) open.onDown?.(why);
      },
    });
  }

  /** True once Hello was sent on the present connection. */
  get ready(): boolean {
    return this.#ready;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Why there is no connection, for the sentences of errors. */
  get whyDown(): string {
    return this.#whyDown;
  }

  async open(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) throw cancelled();
    let timer: NodeJS.Timeout | undefined;
    let onAbort: (() => void) | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#welcome = resolve;
        this.#refused = reject;
        onAbort = () => reject(cancelled());
        signal?.addEventListener('abort', onAbort, { once: true });
        timer = setTimeout(() => {
          const message = `the OBU did not answer at ${this.#path} within ${timeoutMs} ms: ${this.#whyDown}`;
          reject(new KerbError(ErrorCode.ConnectionLost, message, { path: this.#path }));
        }, timeoutMs);
        this.#link.open();
      });
    } catch (error) {
      this.close();
      throw error;
    } finally {
      clearTimeout(timer);
      if (onAbort) signal?.removeEventListener('abort', onAbort);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#link.close();
    const open = [...this.#open];
    this.#open.clear();
    this.#byRequest.clear();
    for (const request of open) request.onFailure(cancelled());
  }

  /** Asks now, or as soon as there is a connection. */
  start(open: OpenRequest): void {
    this.#open.add(open);
    if (this.#ready) this.#ask(open);
  }

  /**
   * A request with one answer.
   * @param lost What to say when the OBU came back without having answered; left out: it is asked again.
   */
  askOnce<T>(
    body: ClientFields,
    read: (message: ServerMessage) => { readonly answer: T } | null | undefined,
    signal: AbortSignal | undefined,
    lost?: string,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.closed || signal?.aborted) throw cancelled();
      let asked = false;
      const end = () => {
        signal?.removeEventListener('abort', onAbort);
        this.forget(open);
      };
      const fail = (error: KerbError) => {
        end();
        reject(error);
      };
      const open: OpenRequest = {
        request: 0,
        body: () => {
          if (asked && lost !== undefined) return undefined;
          asked = true;
          return body;
        },
        onMessage: (message) => {
          const got = read(message);
          if (!got) return;
          end();
          resolve(got.answer);
        },
        onFailure: fail,
        onReopen: () => {
          if (lost !== undefined) fail(new KerbError(ErrorCode.ConnectionLost, lost));
        },
      };
      const onAbort = () => fail(cancelled());
      signal?.addEventListener('abort', onAbort, { once: true });
      this.start(open);
    });
  }

  #ask(open: OpenRequest): void {
    const body = open.body();
    if (body === undefined) return;
    open.request = this.#nextRequest();
    this.#byRequest.set(open.request, open);
    this.#link.send({ request: open.request, ...body });
  }

  forget(open: OpenRequest): void {
    this.#open.delete(open);
    this.#byRequest.delete(open.request);
  }

  has(open: OpenRequest): boolean {
    return this.#open.has(open);
  }

  /** Tells the OBU that this subscription has ended, if it knows of it. */
  unsubscribe(request: number): void {
    if (this.#ready && request !== 0) {
      this.#link.send({ request: this.#nextRequest(), unsubscribe: { subscription: request } });
    }
  }

  /** 1 to 2^32-1, and around. */
  #nextRequest(): number {
    do this.#lastRequest = (this.#lastRequest % 0xffff_ffff) + 1;
    while (this.#byRequest.has(this.#lastRequest));
    return this.#lastRequest;
  }

  #sayHello(): void {
    this.#hello = this.#nextRequest();
    this.#link.send({ request: this.#hello, hello: { version: PROTOCOL_VERSION, client: CLIENT } });
  }

  #receive(message: ServerMessage): void {
    const { request, welcome, failure } = message;
    if (request === this.#hello && welcome) {
      this.#welcomed(welcome);
      return;
    }
    if (failure && (request === this.#hello || request === 0)) {
      this.#whyDown = failure.message || this.#whyDown;
      // Before the first welcome it is connect() that fails; later an OBU that refuses us refuses all that is open.
      if (this.#refused) this.#refused(toError(failure));
      else if (request === this.#hello) for (const open of [...this.#open]) open.onFailure(toError(failure));
      return;
    }
    const open = this.#byRequest.get(request);
    if (open === undefined) return;
    if (failure) open.onFailure(toError(failure));
    else open.onMessage(message);
  }

  #welcomed(welcome: NonNullable<ServerMessage['welcome']>): void {
    this.workload = welcome.workload ?? '';
    this.vehicle = welcome.vehicle ?? '';
    this.obu = welcome.obu ?? '';
    this.grants = toGrants(welcome.grants);
    this.#ready = true;
    this.#refused = undefined;
    this.#welcome?.();
    this.#welcome = undefined;
    for (const open of [...this.#open]) {
      if (open.request !== 0) open.onReopen?.();
      this.#ask(open);
    }
  }
}

export function cancelled(): KerbError {
  return new KerbError(ErrorCode.Cancelled, 'it was cancelled by this program');
}

import { randomUUID } from 'node:crypto';
import { ErrorCode, KerbError } from '../errors.ts';
import { MAX_CLIENT_MESSAGE } from '../protocol/framing.ts';
import { type ItemStream, QueuedStream } from './item-stream.ts';
import { Link } from './link.ts';
import {
  type CanBatch,
  type ClientFields,
  droppedOf,
  type FrameToSend,
  type Grants,
  type OffloadOutcome,
  type Picture,
  type PictureFormat,
  type ServerMessage,
  type SignalValue,
  toCanBatch,
  toError,
  toGrants,
  toOutcome,
  toPicture,
  toSignalValues,
  toWireFormat,
  toWireFrame,
} from './messages.ts';

const PROTOCOL_VERSION = 1;
const CLIENT = '@kerbside/app-sdk 0.1.0';
/** What waits for a slow loop: CAN frames, signal values, pictures. Four seconds of a full 500 kbit/s bus. */
const FRAMES = 16_384;
const VALUES = 16_384;
const PICTURES = 1;

export interface ConnectOptions {
  /** Path of the gateway socket; by default what the OBU put into KERBSIDE_GATEWAY. */
  readonly path?: string;
  /** Milliseconds to wait for the OBU to answer, 10,000 by default. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * The OBU, as this workload sees it. When the OBU restarts, everything that is open goes on by itself: subscriptions
 * are opened again, and offloads are asked for again under their id as long as their budget lasts.
 */
export interface Obu {
  readonly workload: string;
  readonly vehicle: string;
  readonly obu: string;
  readonly grants: Grants;
  /**
   * CAN frames of a bus, in batches. A batch also tells when the bus goes down or comes back, even without frames.
   * @param options.filters can-utils grammar, "id:mask" and "id~mask" in hex; left out: everything granted.
   * @throws KerbError NotGranted | UnknownBus | BadCanFilter, from the loop
   */
  can(options: {
    readonly bus: string;
    readonly filters?: readonly string[];
    readonly signal?: AbortSignal;
  }): ItemStream<CanBatch>;
  /**
   * Sends frames to a bus, in order; settles when all of them are on it. This workload does not get them back from
   * `can()` of this connection; everybody else on the bus does. Nothing is sent later or twice: without a connection it
   * fails.
   * @throws KerbError of the first frame that was denied or not taken; those before it are on the bus, those after it
   * are not: NotGranted | CanWriteNotGranted | CanWriteWrongLength | CanWriteTooFast (`context.retryAfterMs`) |
   * CanWriteNotNow | BadCanFrame | BusDown | BusWriteFailed | TooManyRequests. ConnectionLost: there is no connection,
   * or it was lost before the answer, and what reached the bus is not known
   */
  sendCan(bus: string, frames: readonly FrameToSend[]): Promise<void>;
  /**
   * Vehicle signals by VSS path; a branch means its subtree. What is known already comes at once.
   * @param options.minIntervalMs At most one value per path in this time, the latest; 0 or left out: every value.
   * @throws KerbError NotGranted | UnknownSignal, from the loop
   */
  signals(
    paths: readonly string[],
    options?: { readonly minIntervalMs?: number; readonly signal?: AbortSignal },
  ): ItemStream<readonly SignalValue[]>;
  /**
   * Pictures of a camera. A slow loop always gets the newest one.
   * @param options.format 'jpeg' by default.
   * @param options.width Pixels; with `height`; left out: as the camera delivers.
   * @param options.fps Pictures per second; left out: as many as granted.
   * @throws KerbError NotGranted | UnknownCamera | BadCameraWish, from the loop
   */
  camera(
    name: string,
    options?: {
      readonly format?: PictureFormat;
      readonly width?: number;
      readonly height?: number;
      readonly fps?: number;
      readonly signal?: AbortSignal;
    },
  ): ItemStream<Picture>;
  /**
   * Runs a task on an edge element. Settles within the budget, whatever happens to the OBU and the network.
   * @param options.budgetMs Milliseconds from now until an answer is worth nothing.
   * @param options.isolation `vm`: only in a virtual machine of its own; refused where the task runs otherwise.
   * @param options.id The same id is the same offload: give one to be able to ask again without running it twice.
   * @throws KerbError NotGranted | BudgetExhausted | ConnectionLost | InputTooLarge | Cancelled | what refused it
   */
  offload(
    task: string,
    input: Uint8Array,
    options: {
      readonly budgetMs: number;
      readonly id?: string;
      readonly isolation?: 'any' | 'vm';
      readonly signal?: AbortSignal;
    },
  ): Promise<OffloadOutcome>;
  /** Ends everything: loops end, open offloads fail with Cancelled. */
  close(): void;
}

/**
 * Reaches the OBU that started this container.
 * @throws KerbError ConnectionLost when it does not answer in time, BadGatewayRequest when it refuses this version of
 * the protocol, Cancelled, BadConfig when there is no path
 */
export async function connect(options: ConnectOptions = {}): Promise<Obu> {
  const path = options.path ?? process.env.KERBSIDE_GATEWAY;
  if (!path) {
    throw new KerbError(
      ErrorCode.BadConfig,
      'KERBSIDE_GATEWAY is not set: this program runs in a container that a Kerbside OBU starts, or needs `path`',
    );
  }
  const client = new GatewayClient(path);
  await client.open(options.timeoutMs ?? 10_000, options.signal);
  return client;
}

/** Something that is open, and can be asked for again on another connection. */
interface OpenRequest {
  /** What to send; undefined when it is not worth it any more. */
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

class GatewayClient implements Obu {
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

  can(options: { bus: string; filters?: readonly string[]; signal?: AbortSignal }): ItemStream<CanBatch> {
    const subscribeCan = { bus: options.bus, filters: [...(options.filters ?? [])] };
    return this.#subscribe(
      { subscribeCan },
      FRAMES,
      (batch: CanBatch) => batch.frames.length,
      ({ canFrames }) => canFrames && { item: toCanBatch(canFrames), dropped: droppedOf(canFrames) },
      options.signal,
    );
  }

  sendCan(bus: string, frames: readonly FrameToSend[]): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      if (this.#closed) throw cancelled();
      const sendCan = { bus, frames: frames.map(toWireFrame) };
      const fail = (error: KerbError) => {
        this.#forget(open);
        reject(error);
      };
      const lost = (message: string) => fail(new KerbError(ErrorCode.ConnectionLost, message, { bus }));
      const open: OpenRequest = {
        request: 0,
        body: () => ({ sendCan }),
        onMessage: () => {
          this.#forget(open);
          resolve();
        },
        onFailure: fail,
        onDown: (why) => lost(`the connection to the OBU was lost while CAN frames were sent to "${bus}": ${why}`),
      };
      if (this.#ready) this.#start(open);
      else lost(`CAN frames were not sent to "${bus}": there is no connection to the OBU (${this.#whyDown})`);
    });
  }

  signals(
    paths: readonly string[],
    options: { minIntervalMs?: number; signal?: AbortSignal } = {},
  ): ItemStream<readonly SignalValue[]> {
    const subscribeSignals = { paths: [...paths], minIntervalMs: options.minIntervalMs ?? 0 };
    return this.#subscribe(
      { subscribeSignals },
      VALUES,
      (values: readonly SignalValue[]) => values.length,
      ({ signalValues }) => signalValues && { item: toSignalValues(signalValues), dropped: droppedOf(signalValues) },
      options.signal,
    );
  }

  camera(
    name: string,
    options: { format?: PictureFormat; width?: number; height?: number; fps?: number; signal?: AbortSignal } = {},
  ): ItemStream<Picture> {
    const { format = 'jpeg', width = 0, height = 0, fps = 0, signal } = options;
    const subscribeCamera = { camera: name, format: toWireFormat(format), width, height, fps };
    return this.#subscribe(
      { subscribeCamera },
      PICTURES,
      () => 1,
      ({ cameraFrame }) => cameraFrame && { item: toPicture(cameraFrame), dropped: droppedOf(cameraFrame) },
      signal,
    );
  }

  offload(
    task: string,
    input: Uint8Array,
    options: { budgetMs: number; id?: string; isolation?: 'any' | 'vm'; signal?: AbortSignal },
  ): Promise<OffloadOutcome> {
    const startedAt = performance.now();
    const { budgetMs, id = randomUUID(), isolation, signal } = options;
    return new Promise<OffloadOutcome>((resolve, reject) => {
      if (this.#closed || signal?.aborted) throw cancelled();
      if (!(budgetMs > 0)) throw new KerbError(ErrorCode.BudgetExhausted, 'budgetMs has to be a number above 0');
      // The rest of the message is far below a kilobyte.
      if (input.length > MAX_CLIENT_MESSAGE - 1024) {
        const message = `an input of ${input.length} bytes does not fit a message of ${MAX_CLIENT_MESSAGE} bytes`;
        throw new KerbError(ErrorCode.InputTooLarge, message);
      }
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.#forget(open);
      };
      const fail = (error: KerbError) => {
        end();
        reject(error);
      };
      const open: OpenRequest = {
        request: 0,
        body: () => {
          const leftMs = budgetMs - (performance.now() - startedAt);
          return leftMs > 0 ? { offload: { id, task, input, budgetMs: leftMs, isolation } } : undefined;
        },
        onMessage: ({ offloadDone }) => {
          if (!offloadDone) return;
          end();
          resolve(toOutcome(offloadDone));
        },
        onFailure: fail,
      };
      const onAbort = () => fail(cancelled());
      signal?.addEventListener('abort', onAbort, { once: true });
      const late = () => {
        // An answer that lies in the socket already is read before the immediate runs.
        setImmediate(() => {
          if (this.#open.has(open)) fail(this.#tooLate(task, budgetMs));
        });
      };
      const timer = setTimeout(late, Math.min(budgetMs, 2 ** 31 - 1));
      this.#start(open);
    });
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

  #subscribe<T>(
    body: ClientFields,
    capacity: number,
    weigh: (item: T) => number,
    read: (message: ServerMessage) => { item: T; dropped: number } | null | undefined,
    signal: AbortSignal | undefined,
  ): ItemStream<T> {
    const end = () => {
      signal?.removeEventListener('abort', onAbort);
      this.#forget(open);
    };
    const stream = new QueuedStream<T>(capacity, weigh, () => {
      const { request } = open;
      end();
      if (this.#ready && request !== 0) {
        this.#link.send({ request: this.#nextRequest(), unsubscribe: { subscription: request } });
      }
    });
    const open: OpenRequest = {
      request: 0,
      body: () => body,
      onMessage: (message) => {
        const got = read(message);
        if (got) stream.push(got.item, got.dropped);
      },
      onFailure: (error) => {
        end();
        stream.finish(error.code === ErrorCode.Cancelled ? undefined : error);
      },
      onReopen: () => stream.reopened(),
    };
    const onAbort = () => stream.close();
    if (this.#closed || signal?.aborted) {
      stream.finish();
      return stream;
    }
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#start(open);
    return stream;
  }

  #start(open: OpenRequest): void {
    this.#open.add(open);
    if (this.#ready) this.#ask(open);
  }

  #ask(open: OpenRequest): void {
    const body = open.body();
    if (body === undefined) return;
    open.request = this.#nextRequest();
    this.#byRequest.set(open.request, open);
    this.#link.send({ request: open.request, ...body });
  }

  #forget(open: OpenRequest): void {
    this.#open.delete(open);
    this.#byRequest.delete(open.request);
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

  #tooLate(task: string, budgetMs: number): KerbError {
    const budget = `${Number(budgetMs.toFixed(1))} ms`;
    if (this.#ready) {
      return new KerbError(ErrorCode.BudgetExhausted, `task "${task}" gave no answer within ${budget}`);
    }
    const message = `task "${task}" gave no answer within ${budget}: there is no connection to the OBU (${this.#whyDown})`;
    return new KerbError(ErrorCode.ConnectionLost, message);
  }
}

function cancelled(): KerbError {
  return new KerbError(ErrorCode.Cancelled, 'it was cancelled by this program');
}

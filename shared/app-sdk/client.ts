import { randomUUID } from 'node:crypto';
import { Deadline } from '../base/deadline.ts';
import { ErrorCode, KerbError } from '../base/errors.ts';
import { MAX_CLIENT_MESSAGE } from '../protocol/framing.ts';
import { type ItemStream, QueuedStream } from './item-stream.ts';
import {
  type CanBatch,
  type ClientFields,
  droppedOf,
  type FrameToSend,
  type Grants,
  type LeafValue,
  type OffloadOutcome,
  type Picture,
  type PictureFormat,
  type ServerMessage,
  type SignalValue,
  toCanBatch,
  toOutcome,
  toPicture,
  toSignalValue,
  toSignalValues,
  toWireFormat,
  toWireFrame,
  toWireValue,
} from './messages.ts';
import type { Obu } from './obu.ts';
import { cancelled, type OpenRequest, Requests } from './requests.ts';
import { type SessionState, StateCalls } from './state.ts';

/**
 * Entries that are kept for a slow loop: CAN frames, signal values, pictures. Four seconds of a full 500 kbit/s bus.
 */
const FRAMES = 16_384;
const VALUES = 16_384;
const PICTURES = 1;

export class GatewayClient implements Obu {
  readonly #requests: Requests;
  readonly state: SessionState;

  constructor(path: string) {
    this.#requests = new Requests(path);
    this.state = new StateCalls(this.#requests);
  }

  /** @throws KerbError ConnectionLost | BadGatewayRequest | Cancelled */
  async open(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    await this.#requests.open(timeoutMs, signal);
  }

  get workload(): string {
    return this.#requests.workload;
  }

  get vehicle(): string {
    return this.#requests.vehicle;
  }

  get obu(): string {
    return this.#requests.obu;
  }

  get grants(): Grants {
    return this.#requests.grants;
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
      if (this.#requests.closed) throw cancelled();
      const sendCan = { bus, frames: frames.map(toWireFrame) };
      const fail = (error: KerbError) => {
        this.#requests.forget(open);
        reject(error);
      };
      const lost = (message: string) => fail(new KerbError(ErrorCode.ConnectionLost, message, { bus }));
      const open: OpenRequest = {
        request: 0,
        body: () => ({ sendCan }),
        onMessage: () => {
          this.#requests.forget(open);
          resolve();
        },
        onFailure: fail,
        onDown: (why) => lost(`the connection to the OBU was lost while CAN frames were sent to "${bus}": ${why}`),
      };
      const { ready, whyDown } = this.#requests;
      if (ready) this.#requests.start(open);
      else lost(`CAN frames were not sent to "${bus}": there is no connection to the OBU (${whyDown})`);
    });
  }

  signals(
    paths: readonly string[],
    options: { minIntervalMs?: number; onChange?: boolean; signal?: AbortSignal } = {},
  ): ItemStream<readonly SignalValue[]> {
    const { minIntervalMs = 0, onChange = false } = options;
    const subscribeSignals = { paths: [...paths], minIntervalMs, onChange };
    return this.#subscribe(
      { subscribeSignals },
      VALUES,
      (values: readonly SignalValue[]) => values.length,
      ({ signalValues }) => signalValues && { item: toSignalValues(signalValues), dropped: droppedOf(signalValues) },
      options.signal,
    );
  }

  get(paths: readonly string[], options: { signal?: AbortSignal } = {}): Promise<readonly SignalValue[]> {
    const read = ({ signalValues }: ServerMessage) => signalValues && { answer: toSignalValues(signalValues) };
    return this.#requests.askOnce({ getSignals: { paths: [...paths] } }, read, options.signal);
  }

  actuate(
    path: string,
    value: LeafValue,
    options: { timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<SignalValue | undefined> {
    const { timeoutMs = 0, signal } = options;
    const read = ({ actuateDone }: ServerMessage) =>
      actuateDone && { answer: actuateDone.acknowledged ? toSignalValue(actuateDone.acknowledged) : undefined };
    const lost = `the OBU disconnected while ${path} was being set; whether it was set is not known`;
    return this.#requests.askOnce({ actuate: { value: toWireValue(path, value), timeoutMs } }, read, signal, lost);
  }

  async provide(values: Readonly<Record<string, LeafValue>>, options: { signal?: AbortSignal } = {}): Promise<void> {
    const nowUs = Date.now() * 1000;
    const wire = Object.entries(values).map(([path, value]) => ({ ...toWireValue(path, value), timeUs: nowUs }));
    const read = ({ accepted }: ServerMessage) => accepted && { answer: undefined };
    await this.#requests.askOnce({ provideSignals: { values: wire } }, read, options.signal);
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
    options: { budgetMs: number; id?: string; isolation?: 'any' | 'vm'; state?: string; signal?: AbortSignal },
  ): Promise<OffloadOutcome> {
    const { budgetMs, id = randomUUID(), isolation, state: stateKey, signal } = options;
    const deadline = new Deadline(budgetMs);
    return new Promise<OffloadOutcome>((resolve, reject) => {
      if (this.#requests.closed || signal?.aborted) throw cancelled();
      if (!(budgetMs > 0)) throw new KerbError(ErrorCode.BudgetExhausted, 'budgetMs has to be a number above 0');
      // The rest of the message is far below a kilobyte.
      if (input.length > MAX_CLIENT_MESSAGE - 1024) {
        const message = `an input of ${input.length} bytes does not fit a message of ${MAX_CLIENT_MESSAGE} bytes`;
        throw new KerbError(ErrorCode.InputTooLarge, message);
      }
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.#requests.forget(open);
      };
      const fail = (error: KerbError) => {
        end();
        reject(error);
      };
      const open: OpenRequest = {
        request: 0,
        body: () => {
          const leftMs = deadline.leftMs();
          return leftMs > 0 ? { offload: { id, task, input, budgetMs: leftMs, isolation, stateKey } } : undefined;
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
          if (this.#requests.has(open)) fail(this.#tooLate(task, deadline));
        });
      };
      const timer = setTimeout(late, deadline.timerMs());
      this.#requests.start(open);
    });
  }

  close(): void {
    this.#requests.close();
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
      this.#requests.forget(open);
    };
    const stream = new QueuedStream<T>(capacity, weigh, () => {
      const { request } = open;
      end();
      this.#requests.unsubscribe(request);
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
    if (this.#requests.closed || signal?.aborted) {
      stream.finish();
      return stream;
    }
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#requests.start(open);
    return stream;
  }

  #tooLate(task: string, { budgetText }: Deadline): KerbError {
    if (this.#requests.ready) {
      return new KerbError(ErrorCode.BudgetExhausted, `task "${task}" gave no answer within ${budgetText}`);
    }
    const message = `task "${task}" gave no answer within ${budgetText}: there is no connection to the OBU (${this.#requests.whyDown})`;
    return new KerbError(ErrorCode.ConnectionLost, message);
  }
}

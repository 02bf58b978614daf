import type { ItemStream } from './item-stream.ts';
import type {
  CanBatch,
  FrameToSend,
  Grants,
  LeafValue,
  OffloadOutcome,
  Picture,
  PictureFormat,
  SignalValue,
} from './messages.ts';
import type { SessionState } from './state.ts';

/**
 * The OBU, as this workload sees it. When the OBU restarts, everything that is open goes on by itself: subscriptions
 * are opened again, and offloads are asked for again under their id as long as their budget lasts.
 */
export interface Obu {
  readonly workload: string;
  readonly vehicle: string;
  readonly obu: string;
  readonly grants: Grants;
  /** The memory of tasks between their runs: the keys of the grant `offload.state`. */
  readonly state: SessionState;
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
   * A value that turns stale comes once more, with `stale` set.
   * @param options.minIntervalMs At most one value per path in this time, the latest; 0 or left out: every value.
   * @param options.onChange Only values that differ from the last one of their path.
   * @throws KerbError NotGranted | UnknownSignal, from the loop
   */
  signals(
    paths: readonly string[],
    options?: { readonly minIntervalMs?: number; readonly onChange?: boolean; readonly signal?: AbortSignal },
  ): ItemStream<readonly SignalValue[]>;
  /**
   * The last known values of these paths; a branch means its subtree. What has never had a value is left out.
   * @throws KerbError NotGranted | UnknownSignal | Cancelled
   */
  get(paths: readonly string[], options?: { readonly signal?: AbortSignal }): Promise<readonly SignalValue[]>;
  /**
   * Sets the target of an actuator, and waits until the vehicle reports that it is so.
   * @param options.timeoutMs Left out: as the mapping of the OBU says.
   * @returns what the vehicle reports; undefined when nothing acknowledges this actuator
   * @throws KerbError NotGranted | UnknownSignal | NotAnActuator | BadSignalValue | NoActuationProvider |
   * ActuationTimedOut | ActuationRefused | TooManyRequests | Cancelled; ConnectionLost when the OBU went away meanwhile,
   * and nobody knows whether it was set
   */
  actuate(
    path: string,
    value: LeafValue,
    options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<SignalValue | undefined>;
  /**
   * Values of which this workload is the source, by path: all are taken, or none. They turn stale when it ends.
   * @throws KerbError NotGranted | UnknownSignal | BadSignalValue | Cancelled
   */
  provide(values: Readonly<Record<string, LeafValue>>, options?: { readonly signal?: AbortSignal }): Promise<void>;
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
   * @param options.state Key of the session state that it goes with, for a task that has state; the answer comes when the
   * next state is kept. Who asks again under the same id gets the same answer, and the state is changed once.
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
      readonly state?: string;
      readonly signal?: AbortSignal;
    },
  ): Promise<OffloadOutcome>;
  /** Ends everything: loops end, open offloads fail with Cancelled. */
  close(): void;
}

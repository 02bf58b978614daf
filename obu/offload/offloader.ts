import type { RoutedOffload } from '../../shared/protocol/offload-request.ts';

export interface OffloadResult {
  readonly output: Uint8Array;
  /** "broker:rsu-1" */
  readonly place: string;
  readonly isolation: string;
  /** Milliseconds: waiting at the place, inside the unikernel, and as the OBU saw the whole. */
  readonly queueMs: number;
  readonly runMs: number;
  readonly totalMs: number;
}

export interface PlaceStatus {
  readonly place: string;
  readonly url: string;
  /** Connected, and it has said something lately. */
  readonly connected: boolean;
  /** Why not, when not connected. */
  readonly reason: string;
  /** For how long nothing has come from it, in milliseconds; left out while it answers, and before it ever did. */
  readonly silentMs?: number;
}

/** Finds a place for an offload and follows it home. */
export interface Offloader {
  start(): Promise<void>;
  stop(): Promise<void>;
  /**
   * Settles within the deadline of the request (plus the time that a timer needs), whatever the network does.
   * @throws KerbError NoBroker | BrokerLost | BudgetExhausted | OffloadRefused (context.refusal: code of the broker)
   */
  offload(request: RoutedOffload): Promise<OffloadResult>;
  places(): readonly PlaceStatus[];
}

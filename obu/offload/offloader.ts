import type { RoutedOffload } from '../../shared/protocol/offload-request.ts';
import type { OffloadResult, PlaceStatus } from '../../shared/v2e-client/offload-result.ts';

/** Finds a place for an offload and follows it home. */
export interface Offloader {
  start(): Promise<void>;
  stop(): Promise<void>;
  /**
   * Settles within the deadline of the request (plus the time that a timer needs), whatever the network does.
   * @throws KerbError NoBroker | BrokerLost | BudgetExhausted | OffloadRefused (context.refusal: code of the broker)
   */
  offload(request: RoutedOffload): Promise<OffloadResult>;
  /** The caller has ended: the offload of this id fails with Cancelled, and its place gets a cancel. */
  cancel(id: string): void;
  places(): readonly PlaceStatus[];
}

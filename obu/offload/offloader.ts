import type { OffloadDecision } from '../../shared/api/offload-decision.ts';
import type { RoutedOffload } from '../../shared/protocol/offload-request.ts';
import type { OffloadResult, PlaceStatus } from '../../shared/v2e-client/offload-result.ts';
import type { StateCall, StateEntry } from '../../shared/v2e-client/state-requests.ts';

/** A key of session state, and what is to be done to it. */
export interface RoutedStateCall extends StateCall {
  readonly taskDigest: string;
  readonly key: string;
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
  /**
   * Reads or writes one key at the broker that keeps it.
   * @throws KerbError with the code of the broker's refusal; UnknownTask: it does not offer the task; NoBroker; BrokerLost: it
   * may have been done
   */
  useState(call: RoutedStateCall): Promise<StateEntry>;
  /** The caller has ended: the offload of this id fails with Cancelled, and its place gets a cancel. */
  cancel(id: string): void;
  places(): readonly PlaceStatus[];
  /** How the place of one of the newest offloads was chosen; "last": the newest. Left out: it never chooses. */
  decision?(id: string): OffloadDecision | undefined;
}

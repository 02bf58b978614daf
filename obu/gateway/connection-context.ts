/** What every connection of one gateway shares. */
import type { KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { DenialReason } from '../can/write-guard.ts';
import type { GrantGuard } from '../grants/grants.ts';
import type { CanService } from './services/can-service.ts';
import type { OffloadService } from './services/offload-service.ts';
import type { SignalService, SignalServiceMeter } from './services/signal-service.ts';
import type { StateService } from './services/state-service.ts';
import type { SubscriptionMeter } from './streams/subscriptions.ts';

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
  readonly state: StateService;
  readonly can: CanService;
  readonly signals: SignalService;
  readonly meter: GatewayMeter;
  readonly log: Logger;
  /** False while this workload has filled its share of the log. */
  readonly mayLog: () => boolean;
  /** Since when its container has not been frozen, by `performance.now()`; undefined while it is. */
  readonly awakeSinceMs: () => number | undefined;
}

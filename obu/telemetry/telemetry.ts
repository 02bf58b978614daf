import { EventLog } from '../../shared/api/event-log.ts';
import { RecentErrors } from '../../shared/api/recent-errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { GatewayMeter } from '../gateway/connection-context.ts';
import { DeniedIdLog } from './denied-ids.ts';
import { ObuMetrics } from './metrics.ts';
import { OffloadMeter } from './offload-meter.ts';
import type { Report } from './report.ts';
import { countEvents, keepErrors, keepEvents, logEvents } from './subscribers.ts';

/** All that an OBU knows about how it is doing. Rooms report events; what happens per frame or offload is counted by meters. */
export class Telemetry {
  readonly metrics = new ObuMetrics();
  readonly offloads = new OffloadMeter();
  readonly errors = new RecentErrors();
  readonly events = new EventLog();
  readonly deniedIds = new DeniedIdLog();
  /** A function of its own: it may be handed on. */
  readonly report: Report;

  constructor({ vehicle, obu, log }: { readonly vehicle: string; readonly obu: string; readonly log: Logger }) {
    const subscribers: readonly Report[] = [
      logEvents(log),
      countEvents(this.metrics, this.deniedIds),
      keepEvents(this.events, { vehicle, obu }),
      keepErrors(this.errors),
    ];
    this.report = (event) => {
      for (const subscriber of subscribers) subscriber(event);
    };
  }

  /** For what containers do at their gateways. */
  gatewayMeter(): GatewayMeter {
    const { metrics, offloads, report } = this;
    return {
      canDropped: (workload) => metrics.canDropped(workload),
      canDenied: (workload, reason) => metrics.canDenied(workload, reason),
      pictureDropped: (workload) => metrics.pictureDropped(workload),
      signalLatency: (seconds) => metrics.signalLatency(seconds),
      signalsDropped: (workload, count) => metrics.signalsDropped(workload, count),
      offloadStarted: () => offloads.started(),
      offloadDone: (receipt) => {
        offloads.done(receipt);
        metrics.offload('ok');
      },
      offloadFailed: (totalMs) => {
        offloads.failed(totalMs);
        metrics.offload('failed');
      },
      failure: (workload, error) => report({ event: 'workload-fault', workload, error }),
    };
  }
}

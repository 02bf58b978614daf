/** Reports of the parts of the OBU, into metrics, events and the errors of the status. */
import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import { errorName, type KerbError } from '../../shared/base/errors.ts';
import type { ContainerInterfacesParts } from '../can-interface/container-interface.ts';
import type { GatewayMeter } from '../gateway/connection.ts';
import type { WorkloadObserver } from '../workloads/reconciler-parts.ts';
import type { DeniedIdLog } from './denied-ids.ts';
import type { EventLog } from './event-log.ts';
import type { ObuMetrics } from './metrics.ts';
import type { OffloadMeter } from './offload-meter.ts';

export interface Ledgers {
  readonly metrics: ObuMetrics;
  readonly offloads: OffloadMeter;
  readonly errors: RecentErrors;
  readonly events: EventLog;
  readonly deniedIds: DeniedIdLog;
}

export function workloadObserver({ metrics, events }: Ledgers): WorkloadObserver {
  return {
    onState: (workload, { state, detail, reason }) =>
      events.add('workload', workload, detail === '' ? state : `${state}(${detail})`, reason),
    onStep: (workload, step, why) => events.add('step', workload, step, why),
    onPreempted: (victim, { how, by, why }) => {
      metrics.preempted(victim, by);
      events.add('preemption', victim, how, `for ${by}: ${why}`);
    },
  };
}

/** Records a workload's fault: it tried something that it may not do, which was refused. */
export function faultOf({ metrics, errors, events }: Ledgers): (workload: string, error: KerbError) => void {
  return (workload, { code, message }) => {
    metrics.workloadFault(workload, errorName(code));
    errors.add(`workload ${workload}`, code, message);
    events.add('refusal', workload, errorName(code), message);
  };
}

/** What containers with a CAN interface were not allowed to send. */
export function denialObserver(ledgers: Ledgers): NonNullable<ContainerInterfacesParts['denials']> {
  const { metrics, deniedIds } = ledgers;
  return {
    onDenied: (workload, reason, frames) => metrics.canDenied(workload, reason, frames),
    onDeniedId: (workload, bus, id) => deniedIds.add(workload, bus, id),
    onFault: faultOf(ledgers),
  };
}

export function gatewayMeter(ledgers: Ledgers): GatewayMeter {
  const { metrics, offloads } = ledgers;
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
    failure: faultOf(ledgers),
  };
}

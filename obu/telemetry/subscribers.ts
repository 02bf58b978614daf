/** What becomes of a reported event: a count, an entry of the event log, one of the errors of the status, a line of the log. */

import type { EventLog } from '../../shared/api/event-log.ts';
import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import { stateWord } from '../../shared/api/workload-state.ts';
import { ErrorCode, errorName } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { reasonOf } from '../../shared/can/bus.ts';
import { codeOf, type IdentityState } from '../../shared/identity/identity-watch.ts';
import type { WorkloadState } from '../planner/state.ts';
import type { DeniedIdLog } from './denied-ids.ts';
import type { ObuMetrics } from './metrics.ts';
import type { Report } from './report.ts';

export function countEvents(
  metrics: Pick<ObuMetrics, 'preempted' | 'workloadFault' | 'canDenied'>,
  deniedIds: Pick<DeniedIdLog, 'add'>,
): Report {
  return (one) => {
    switch (one.event) {
      case 'preempted':
        return metrics.preempted(one.workload, one.preempted.by);
      case 'workload-fault':
        return metrics.workloadFault(one.workload, errorName(one.error.code));
      case 'can-denied':
        return metrics.canDenied(one.workload, one.reason, one.frames);
      case 'can-denied-id':
        return deniedIds.add(one.workload, one.bus, one.id);
    }
  };
}

/** @param names of this vehicle and OBU, which events about themselves are kept under */
export function keepEvents(
  events: Pick<EventLog, 'add'>,
  { vehicle, obu }: { readonly vehicle: string; readonly obu: string },
): Report {
  return (one) => {
    switch (one.event) {
      case 'workload-state':
        return events.add('workload', one.workload, stateWord(one.state), one.state.reason);
      case 'step':
        return events.add('step', one.workload, one.step, one.why);
      case 'preempted': {
        const { how, by, why } = one.preempted;
        return events.add('preemption', one.workload, how, `for ${by}: ${why}`);
      }
      case 'workload-fault':
        return events.add('refusal', one.workload, errorName(one.error.code), one.error.message);
      case 'bus-state':
        return events.add('bus', one.bus, one.state.state, reasonOf(one.state));
      case 'identity-state': {
        events.add('identity', vehicle, one.state.word, one.state.reason || validUntil(one.state.expiresAtMs));
        const fault = folderFaultOf(one.state);
        if (fault !== '') events.add('identity', vehicle, 'NotRenewed', fault);
        return;
      }
      case 'identity-renewed':
        return events.add('identity', vehicle, 'Renewed', validUntil(one.expiresAt));
      case 'manifest-applied':
        return events.add('manifest', obu, 'Applied', `generation ${one.generation}, ${one.file}`);
    }
  };
}

export function keepErrors(errors: Pick<RecentErrors, 'add'>): Report {
  return (one) => {
    switch (one.event) {
      case 'workload-state':
        // A missing image is a state that lasts, and no event.
        if (hasFailed(one.state) && one.state.detail !== 'ImageMissing') {
          errors.add(`workload ${one.workload}`, ErrorCode.ContainerFailed, one.state.reason);
        }
        return;
      case 'workload-fault':
      case 'interface-fault':
        return errors.add(`workload ${one.workload}`, one.error.code, one.error.message);
      case 'engine-fault':
        return errors.add('engine', ErrorCode.EngineUnavailable, one.reason);
      case 'bus-fault':
        return errors.add(`bus ${one.bus}`, one.code, one.reason);
      case 'camera-fault':
        return errors.add(one.source, ErrorCode.CameraUnavailable, one.reason);
      case 'identity-state': {
        if (one.state.reason !== '') errors.add('identity', codeOf(one.state.word), one.state.reason);
        const fault = folderFaultOf(one.state);
        if (fault !== '') errors.add('identity', codeOf('Unusable'), fault);
        return;
      }
      case 'remote-api-fault':
        return errors.add('API', ErrorCode.ApiUnavailable, one.reason);
      case 'state-damaged':
        return errors.add('state', one.code, one.reason);
    }
  };
}

/** Only what is not logged where it happens, with more than the event says. @param log of the OBU */
export function logEvents(log: Logger): Report {
  const parts = {
    engine: log.child({ part: 'engine' }),
    identity: log.child({ part: 'identity' }),
    api: log.child({ part: 'api' }),
    state: log.child({ part: 'state' }),
  };
  return (one) => {
    switch (one.event) {
      case 'workload-state': {
        const { workload, state } = one;
        const level = hasFailed(state) ? 'warn' : 'info';
        const fields = { workload, state: stateWord(state), reason: state.reason };
        return parts.engine[level](fields, 'a workload has come into another state');
      }
      case 'step':
        return parts.engine.info({ workload: one.workload, step: one.step, reason: one.why }, 'a step is begun');
      case 'identity-state':
        return logIdentity(parts.identity, one.path, one.state);
      case 'remote-api-fault': {
        const fields = { code: ErrorCode.ApiUnavailable, err: one.reason };
        return parts.api.error(fields, 'the API cannot be served yet; trying again');
      }
      case 'state-damaged':
        return parts.state.error({ code: one.code, reason: one.reason }, 'the state of this OBU was damaged');
    }
  };
}

function logIdentity(log: Logger, path: string, { word, reason, folderFault, expiresAtMs }: IdentityState): void {
  if (reason === '') log.info({ path, reason: validUntil(expiresAtMs) }, 'the identity of this vehicle is good');
  else {
    const fields = { path, state: word, code: codeOf(word), reason };
    log.warn(fields, 'the identity of this vehicle needs attention');
  }
  if (folderFault !== '') {
    log.warn({ path, reason: folderFault }, 'the identity folder has changed and cannot be used');
  }
}

function folderFaultOf({ folderFault }: IdentityState): string {
  if (folderFault === '') return '';
  return `what is in the identity folder now is not used, and that of before goes on: ${folderFault}`;
}

/** @param expiresAtMs milliseconds since 1970; undefined: nobody could read a certificate */
function validUntil(expiresAtMs: number | undefined): string {
  return expiresAtMs === undefined ? '' : `valid until ${new Date(expiresAtMs).toISOString()}`;
}

function hasFailed({ state, detail }: WorkloadState): boolean {
  return state === 'Failed' || detail === 'BackingOff' || detail === 'CrashLoop';
}

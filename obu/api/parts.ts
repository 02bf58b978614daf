import type { EventLog } from '../../shared/api/event-log.ts';
import type { DesiredState } from '../state/desired-state.ts';
import type { DeniedIdLog } from '../telemetry/denied-ids.ts';
import type { ObuMetrics } from '../telemetry/metrics.ts';
import type { StatusSources } from './status.ts';

/** The parts of the OBU that the routes of the control API use, once it is up. */
export interface ApiParts extends StatusSources {
  readonly desired: DesiredState;
  readonly events: EventLog;
  readonly metrics: ObuMetrics;
  readonly deniedIds: DeniedIdLog;
}

/** @throws KerbError ApiUnavailable while the OBU is starting */
export type PartsOf = () => ApiParts;

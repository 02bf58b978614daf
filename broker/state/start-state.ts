import { join } from 'node:path';
import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { RunningParts } from '../../shared/base/running-parts.ts';
import type { BrokerConfig } from '../config.ts';
import type { RunThread } from '../storage/database-thread.ts';
import type { BrokerMetrics } from '../telemetry/metrics.ts';
import { StateMetrics } from '../telemetry/state-metrics.ts';
import { StateStore } from './state-store.ts';

export interface StateParts {
  readonly config: BrokerConfig;
  readonly keys: readonly Uint8Array[];
  readonly metrics: BrokerMetrics;
  readonly errors: RecentErrors;
  readonly runThread?: RunThread | undefined;
  readonly log: Logger;
}

/**
 * Takes what is kept of sessions.
 * @throws KerbError BrokerAlreadyRunning | StateUnavailable
 */
export async function startState(
  running: RunningParts,
  { config, keys, metrics, errors, runThread, log }: StateParts,
): Promise<{ readonly state: StateStore; readonly stateMetrics: StateMetrics }> {
  const stateMetrics = new StateMetrics(metrics.registry);
  const folder = join(config.stateDir, 'state');
  const state = new StateStore({
    ...{ folder, keys, maxBytes: config.limits.maxStateBytes, runThread },
    onTrouble: (reason) => {
      if (reason === '') {
        log.info({ path: folder }, 'the state of sessions is kept again');
        return;
      }
      log.error({ path: folder, reason }, 'the state of sessions cannot be kept; offloads with state are refused');
      errors.add('state', ErrorCode.StateNotKept, `${folder} cannot be used: ${reason}; see that it is not full`);
    },
    onDamaged: (aside, reason) => {
      log.error({ path: aside, reason }, 'the state of sessions was damaged; it is put aside, and sessions begin anew');
      errors.add('state', ErrorCode.StateDamaged, `${folder} was damaged (${reason}) and is now ${aside}`);
    },
    onCommit: (ms) => stateMetrics.committed(ms),
  });
  stateMetrics.watch(() => state.use.values());
  await running.begin('state', state);
  return { state, stateMetrics };
}

import { join } from 'node:path';
import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { RunningParts } from '../../shared/base/running-parts.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import type { BrokerConfig } from '../config.ts';
import type { RunThread } from '../storage/database-thread.ts';
import type { BrokerMetrics } from '../telemetry/metrics.ts';
import { ResultMetrics } from '../telemetry/result-metrics.ts';
import type { TenantRules } from '../tenants/policy.ts';
import { ReceiptSigner } from './receipt-signer.ts';
import { ResultStore } from './result-store.ts';
import { Results } from './results.ts';

export interface ResultParts {
  readonly config: BrokerConfig;
  readonly identity: Identity;
  readonly policy: { readonly tenants: Pick<TenantRules, 'resultLimits'> };
  readonly keys: readonly Uint8Array[];
  readonly metrics: BrokerMetrics;
  readonly errors: RecentErrors;
  readonly runThread?: RunThread | undefined;
  readonly log: Logger;
}

/**
 * Takes the state folder for this broker, and what is kept there.
 * @throws KerbError BrokerAlreadyRunning | StateUnavailable
 */
export async function startResults(
  running: RunningParts,
  { config, identity, policy, keys, metrics, errors, runThread, log }: ResultParts,
): Promise<{ readonly results: Results; readonly receipts: ReceiptSigner }> {
  const resultMetrics = new ResultMetrics(metrics.registry);
  const onSigned = (count: number, ok: boolean) => resultMetrics.signed(count, ok);
  const receipts = new ReceiptSigner({ identity, onSigned, log });
  const { maxResults: count, maxBytes: memory, maxDiskBytes: disk } = config.limits;
  const totals = { count, memory, disk };
  const limitsOf = (tenant: string) => policy.tenants.resultLimits(tenant);
  const results = new Results({ broker: config.id, limitsOf, totals, receipts, metrics: resultMetrics });
  const folder = join(config.stateDir, 'results');
  const store = new ResultStore({
    ...{ folder, storageKeys: keys, runThread },
    onOpened: (rows) => results.kept.load(rows),
    onTrouble: (reason) => {
      if (reason === '') {
        log.info({ path: folder }, 'results are written to the disk again');
        return;
      }
      log.error({ path: folder, reason }, 'results cannot be written to the disk; they are kept in memory only');
      errors.add('results', ErrorCode.ResultNotKept, `${folder} cannot be written: ${reason}; see that it is not full`);
    },
    onCommit: (ms) => resultMetrics.committed(ms),
    log,
  });
  results.kept.useStore(store);
  await running.begin('results', {
    start: () => store.start(),
    stop: async () => {
      await store.stop();
      results.stop();
    },
  });
  return { results, receipts };
}

import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { RunningParts } from '../../shared/base/running-parts.ts';
import type { TaskPackage } from '../../shared/task-package/reader.ts';
import { Admission } from '../admission/admission.ts';
import type { BrokerConfig } from '../config.ts';
import type { PackageStore } from '../packages/package-store.ts';
import type { Results } from '../results/results.ts';
import type { BrokerMetrics } from '../telemetry/metrics.ts';
import type { RunningPolicy } from '../tenants/start-policy.ts';
import { openTenderGroups } from '../tenders/cgroups/open-groups.ts';
import { BlankTenders } from '../tenders/pool/blank-tenders.ts';
import { TenderPools } from '../tenders/pool/pools.ts';
import type { PendingOffload } from './offload.ts';
import { Offloads } from './offloads.ts';
import { type CreateTender, ServedTasks } from './served-tasks.ts';

export interface TaskParts {
  readonly config: BrokerConfig;
  readonly store: PackageStore;
  readonly results: Results;
  readonly policy: RunningPolicy;
  readonly metrics: BrokerMetrics;
  readonly errors: RecentErrors;
  readonly log: Logger;
  /** Replaces real tenders in tests. */
  readonly createTender: CreateTender | undefined;
  readonly signal: AbortSignal | undefined;
}

export interface Tasks {
  readonly admission: Admission<PendingOffload>;
  readonly offloads: Offloads;
  readonly served: ServedTasks;
}

/** Makes all that runs tasks, and resolves when a tender waits for each task that is to be ready ahead. */
export async function startTasks(running: RunningParts, parts: TaskParts): Promise<Tasks> {
  const { config, store, policy, results, metrics, errors, log, signal } = parts;
  const { tenants } = policy;
  const { limits, isolation, prestart } = config;
  const admission = new Admission<PendingOffload>({
    limits,
    tenants,
    tendersOf: (digest) => offloads.tendersOf(digest),
    onDropped: (pending, waitedMs) => offloads.runs.dropped(pending, waitedMs),
    onLong: (pending) => offloads.runs.isLong(pending),
  });
  let { createTender } = parts;
  if (createTender === undefined) {
    // They stop after the tenders that are in them.
    const groups = await openTenderGroups(config.cgroups ?? 'off', limits.maxTenders + limits.blankTenders, log);
    if (groups !== undefined) await running.begin('control groups', { stop: () => groups.close() });
    const blanks = new BlankTenders({ count: limits.blankTenders, isolation, groups, log });
    await running.begin('blank tenders', {
      start: () => orCancelled(blanks.start(), signal),
      stop: () => blanks.stop(),
    });
    createTender = (imagePath, taskLog, wished, bytes) => blanks.take(imagePath, taskLog, wished, bytes);
  }
  const pools = new TenderPools(limits, (digest) => admission.queuedFor(digest));
  const offloads: Offloads = new Offloads(admission, results, metrics, limits, () => pools.planSoon(), tenants);
  tenants.onMore = () => offloads.dispatch();
  const served = new ServedTasks({
    store,
    tenants,
    pools,
    offloads,
    admission,
    isolation,
    prestart,
    limits,
    createTender,
    errors,
    log,
  });
  for (const found of store.stored) {
    if (found.fault === undefined) served.add(found.taskPackage);
    else served.withdraw(found);
  }
  warnOfUnknown(prestart, store.packages, log);
  metrics.watchPools(() => pools.pools);
  await running.begin('tender pools', {
    start: () => orCancelled(pools.start(), signal),
    stop: () => pools.stop(),
  });
  return { admission, offloads, served };
}

/** A name that is none of a task is said and otherwise does no harm: it may still be pushed. */
function warnOfUnknown(prestart: BrokerConfig['prestart'], packages: readonly TaskPackage[], log: Logger): void {
  if (prestart === 'all') return;
  const names = new Set(packages.map(({ config }) => config.name));
  for (const name of prestart) {
    if (!names.has(name)) log.warn({ task: name }, 'a task that is to be started with the broker is not there');
  }
}

/** Does not wait for a step whose part is stopped in its middle. */
function orCancelled<T>(step: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return step;
  return new Promise((resolve, reject) => {
    const cancel = () => reject(new KerbError(ErrorCode.Cancelled, 'the broker was stopped while it started'));
    if (signal.aborted) cancel();
    signal.addEventListener('abort', cancel, { once: true });
    step.then(resolve, reject).finally(() => signal.removeEventListener('abort', cancel));
  });
}

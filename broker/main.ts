import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { jsonReply } from '../shared/api/control-routes.ts';
import { createControlServer } from '../shared/api/control-server.ts';
import { RecentErrors } from '../shared/api/recent-errors.ts';
import type { BrokerStatus } from '../shared/api/status.ts';
import { ErrorCode, KerbError, messageOf } from '../shared/base/errors.ts';
import type { Logger } from '../shared/base/log.ts';
import type { OnceLimits } from '../shared/base/once.ts';
import { loadIdentity } from '../shared/identity/x509-identity.ts';
import type { TaskPackage } from '../shared/task-package/reader.ts';
import { loadTrust } from '../shared/task-package/signer.ts';
import { Admission, type AdmissionLimits } from './admission/admission.ts';
import { watchBrokerIdentity } from './identity.ts';
import { encodeAnnouncement } from './ingress/codec.ts';
import { Ingress } from './ingress/ingress.ts';
import type { PendingOffload } from './offloads/offload.ts';
import { Offloads } from './offloads/offloads.ts';
import { type CreateTender, ServedTasks } from './offloads/served-tasks.ts';
import { PackageStore } from './packages/package-store.ts';
import { PackageUploads } from './packages/package-uploads.ts';
import { DEFAULT_PUSH_LIMITS, type PushLimits } from './packages/push-limits.ts';
import { PushedPackages } from './packages/pushed-packages.ts';
import { BrokerMetrics } from './telemetry/metrics.ts';
import { BlankTenders } from './tenders/pool/blank-tenders.ts';
import type { PoolLimits } from './tenders/pool/pool-plan.ts';
import { TenderPools } from './tenders/pool/pools.ts';
import type { Isolation, WishedIsolation } from './tenders/process/tender.ts';

export interface BrokerConfig {
  /** Has to be the id in the certificate. */
  readonly id: string;
  /** Port 0: any free one. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly identityDir: string;
  readonly packagesDir: string;
  /** Public keys of the task signers whose packages are run; undefined: everything is run, signed or not. */
  readonly trustDir: string | undefined;
  /** For what has to outlive a connection: verified images. */
  readonly stateDir: string;
  /** Path of the control socket. */
  readonly apiSocket: string;
  /** For every task that leaves it open. */
  readonly isolation: WishedIsolation;
  /** Names of the tasks whose first tender is started with the broker and stays while there is room. */
  readonly prestart: 'all' | readonly string[];
  readonly limits: BrokerLimits;
  /** Undefined: nobody may push. */
  readonly push?: PushConfig;
}

export interface PushConfig {
  /** Whose vehicles may push. */
  readonly tenants: readonly string[];
  readonly limits: PushLimits;
  /** Bytes of input that a pushed task may take. */
  readonly maxInput: number;
}

const NO_PUSHES: PushConfig = { tenants: [], limits: DEFAULT_PUSH_LIMITS, maxInput: 0 };

export interface BrokerLimits extends AdmissionLimits, OnceLimits, PoolLimits {
  readonly maxClients: number;
  readonly maxJoined: number;
  /** Tenders that wait for a task that none waits for. */
  readonly blankTenders: number;
  /** Milliseconds that running offloads get when the broker stops. */
  readonly stopMs: number;
}

export const DEFAULT_LIMITS: BrokerLimits = {
  maxQueuedPerPackage: 256,
  maxQueuedPerTenant: 128,
  maxQueuedBytes: 64 * 1024 * 1024,
  maxBytes: 64 * 1024 * 1024,
  maxCount: 10_000,
  maxAgeMs: 60_000,
  maxClients: 1024,
  maxJoined: 16,
  blankTenders: 2,
  stopMs: 2000,
  tenderMemory: 512 * 1024 * 1024,
  maxTenders: 128,
  // One more than can run at once: while its answer is on its way, the core is not idle.
  maxTendersPerTask: availableParallelism() + 1,
  maxLoading: availableParallelism(),
  idleMs: 10_000,
  forgetMs: 60_000,
  tenureMs: 50,
};

/** What a test may put in the place of real parts. */
export interface BrokerParts {
  readonly log: Logger;
  readonly createTender?: CreateTender;
  /** Aborted: the start is taken back. */
  readonly signal?: AbortSignal;
}

export interface RunningBroker {
  readonly url: string;
  readonly port: number;
  status(): BrokerStatus;
  /** Takes nothing new, lets what runs come to its end for a short time, and leaves nothing behind. */
  stop(): Promise<void>;
}

/** What tasks may demand of a broker with this wish. With `auto` the tender of one that demands `vm` finds out whether it can. */
const ISOLATIONS: Readonly<Record<WishedIsolation, readonly Isolation[]>> = {
  process: ['process'],
  vm: ['vm'],
  auto: ['process', 'vm'],
};

/**
 * Starts a broker: verifies the packages, has a tender waiting for each that is to be ready ahead, then listens.
 * @throws KerbError BadIdentity | BadConfig | ApiUnavailable | Cancelled. What had been started is stopped again.
 */
export async function startBroker(config: BrokerConfig, parts: BrokerParts): Promise<RunningBroker> {
  const { log, signal } = parts;
  const undo: (() => Promise<unknown>)[] = [];
  let stopping: Promise<void> | undefined;
  const stopAll = (): Promise<void> => {
    stopping ??= runBackwards(undo, log);
    return stopping;
  };
  /** For the short steps: each comes to its end before anything is taken back. */
  const unlessCancelled = async <T>(step: Promise<T>): Promise<T> => {
    const result = await step;
    if (signal?.aborted) throw cancelled();
    return result;
  };

  try {
    const identity = await unlessCancelled(loadIdentity(config.identityDir, 'broker'));
    if (identity.self.id !== config.id) {
      throw new KerbError(
        ErrorCode.BadIdentity,
        `the identity in ${config.identityDir} is of broker ${identity.self.id}, not ${config.id}; give the right --id or --identity`,
      );
    }
    const { trustDir } = config;
    const trusted = trustDir === undefined ? undefined : await unlessCancelled(loadTrust(trustDir));
    if (config.push !== undefined && trusted === undefined) {
      throw new KerbError(
        ErrorCode.BadConfig,
        'what is pushed is run only if somebody trusted has signed it; give --trust, or take no pushes',
      );
    }
    const pushed = new PushedPackages(join(config.stateDir, 'pushed'));
    const store = new PackageStore({
      packagesDir: config.packagesDir,
      pushed,
      imagesDir: join(config.stateDir, 'images'),
      isolations: ISOLATIONS[config.isolation],
      maxMemory: config.limits.tenderMemory,
      trusted,
    });
    await unlessCancelled(store.load());

    const errors = new RecentErrors();
    for (const { path, error } of store.rejected) {
      log.error({ path, code: error.code, err: error.message }, 'a task package cannot be used');
      errors.add(path, error.code, error.message);
    }
    if (store.packages.length === 0) log.warn({ path: config.packagesDir }, 'there is no task package to run');

    const metrics = new BrokerMetrics();
    const admission = new Admission<PendingOffload>(config.limits, (flight, waitedMs) =>
      offloads.spent(flight, waitedMs),
    );
    let { createTender } = parts;
    if (createTender === undefined) {
      const blanks = new BlankTenders({ count: config.limits.blankTenders, isolation: config.isolation, log });
      undo.push(() => blanks.stop());
      await orCancelled(blanks.start(), signal);
      createTender = (imagePath, taskLog, isolation) => blanks.take(imagePath, taskLog, isolation);
    }
    const pools = new TenderPools(config.limits, (digest) => admission.queuedFor(digest));
    const offloads = new Offloads(admission, metrics, config.limits, () => pools.planSoon());
    const served = new ServedTasks({
      store,
      pools,
      offloads,
      admission,
      isolation: config.isolation,
      prestart: config.prestart,
      limits: config.limits,
      createTender,
      errors,
      log,
    });
    for (const taskPackage of store.packages) served.add(taskPackage);
    warnOfUnknown(config.prestart, store.packages, log);
    undo.push(() => pools.stop());
    metrics.watchPools(() => pools.pools);
    await orCancelled(pools.start(), signal);

    const announcement = () => encodeAnnouncement(served.announcement(config.id));
    const { tenants, limits, maxInput } = config.push ?? NO_PUSHES;
    // How much a message may hold is settled when the ingress starts.
    const largestInput = Math.max(served.announcement(config.id).maxInput, maxInput);
    const onRefused = refusalLog(log, errors);
    const changed = (change: () => void) => {
      change();
      ingress.announce();
    };
    const uploads = new PackageUploads({
      store,
      pushed,
      tenants,
      limits,
      maxInput: largestInput,
      onPushed: (taskPackage) => changed(() => served.add(taskPackage)),
      onRemoved: (digest) => changed(() => served.remove(digest)),
      onRefused,
      metrics,
      log,
    });
    undo.push(() => uploads.stop());
    metrics.watchPushed(() => store.origins.values());

    const ingress = new Ingress({
      identity,
      listen: config.listen,
      maxInput: largestInput,
      maxClients: config.limits.maxClients,
      announcement,
      submit: (offload, answer) => offloads.submit(offload, answer),
      pushes: (client) => uploads.session(client),
      onRefused,
      log,
    });
    undo.push(() => ingress.stop());
    await unlessCancelled(ingress.start());
    const { id, identityDir: dir } = config;
    const watch = watchBrokerIdentity({ dir, id, errors, onRenewed: (renewed) => ingress.renew(renewed), log });
    undo.push(() => watch.stop());
    await unlessCancelled(watch.start());
    undo.push(() => offloads.stop(config.limits.stopMs));
    const url = `https://${config.listen.host.includes(':') ? `[${config.listen.host}]` : config.listen.host}:${ingress.port}`;

    const startedAt = new Date().toISOString();
    const status = (): BrokerStatus => ({
      broker: config.id,
      startedAt,
      url,
      clients: ingress.clients,
      queued: admission.queued,
      offloads: offloads.counts(),
      packages: served.status(),
      rejected: store.rejected.map(({ path, error }) => ({ path, reason: error.message })),
      errors: errors.list(),
    });
    const control = createControlServer({
      socketPath: config.apiSocket,
      routes: {
        'GET /v1/status': () => jsonReply(status()),
        'GET /metrics': async () => ({ type: metrics.registry.contentType, body: await metrics.registry.metrics() }),
      },
      log,
    });
    undo.push(() => control.stop());
    await unlessCancelled(control.start());
    log.info({ broker: config.id, url, path: config.apiSocket, count: served.size }, 'the broker takes offloads');
    return { url, port: ingress.port, status, stop: stopAll };
  } catch (error) {
    await stopAll();
    throw error;
  }
}

/** Every step is taken, also after one that failed. */
async function runBackwards(steps: (() => Promise<unknown>)[], log: Logger): Promise<void> {
  for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
    await step().catch((error: unknown) => log.error({ err: messageOf(error) }, 'a part did not stop as it should'));
  }
}

/** Says who was refused and why, ten times a second at most: a client must not be able to fill the disk. */
function refusalLog(log: Logger, errors: RecentErrors): (client: string, error: KerbError) => void {
  let quietUntil = 0;
  let unsaid = 0;
  return (client, error) => {
    errors.add(client, error.code, error.message);
    const now = performance.now();
    if (now < quietUntil) {
      unsaid++;
      return;
    }
    log.warn({ client, code: error.code, err: error.message, count: unsaid }, 'a client was refused');
    quietUntil = now + 100;
    unsaid = 0;
  };
}

/** A name that is none of a task is said and otherwise does no harm: it may still be pushed. */
function warnOfUnknown(prestart: BrokerConfig['prestart'], packages: readonly TaskPackage[], log: Logger): void {
  if (prestart === 'all') return;
  const names = new Set(packages.map(({ config }) => config.name));
  for (const name of prestart) {
    if (!names.has(name)) log.warn({ task: name }, 'a task that is to be started with the broker is not there');
  }
}

/** For a step that can be stopped in its middle: does not wait for it. */
function orCancelled<T>(step: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return step;
  return new Promise((resolve, reject) => {
    const cancel = () => reject(cancelled());
    if (signal.aborted) cancel();
    signal.addEventListener('abort', cancel, { once: true });
    step.then(resolve, reject).finally(() => signal.removeEventListener('abort', cancel));
  });
}

function cancelled(): KerbError {
  return new KerbError(ErrorCode.Cancelled, 'the broker was stopped while it started');
}

import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createControlServer, jsonReply } from '../shared/api/control-server.ts';
import { RecentErrors } from '../shared/api/recent-errors.ts';
import type { BrokerStatus } from '../shared/api/status.ts';
import { ErrorCode, KerbError, messageOf } from '../shared/errors.ts';
import { loadIdentity } from '../shared/identity/x509-identity.ts';
import type { Logger } from '../shared/log.ts';
import type { TaskPackage } from '../shared/task-package/reader.ts';
import { loadTrust } from '../shared/task-package/signer.ts';
import { Admission, type AdmissionLimits } from './admission/admission.ts';
import { BrokerMetrics } from './api/metrics.ts';
import { type Announcement, encodeAnnouncement } from './ingress/codec.ts';
import { Ingress } from './ingress/ingress.ts';
import { type Flight, Offloads } from './offloads.ts';
import { declaredMemory, PackageStore } from './packages/package-store.ts';
import { type ResultLimits, ResultStore } from './results/result-store.ts';
import { BlankTenders } from './tenders/blank-tenders.ts';
import { TenderPool } from './tenders/pool.ts';
import type { PoolLimits } from './tenders/pool-plan.ts';
import { TenderPools } from './tenders/pools.ts';
import type { Isolation, Tender, WishedIsolation } from './tenders/tender.ts';

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
}

export interface BrokerLimits extends AdmissionLimits, ResultLimits, PoolLimits {
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

type CreateTender = (imagePath: string, log: Logger, isolation: WishedIsolation) => Tender;

interface Tended {
  readonly taskPackage: TaskPackage;
  readonly pool: TenderPool;
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
    const store = new PackageStore({
      packagesDir: config.packagesDir,
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
    if (store.packages.length === 0) log.warn({ packagesDir: config.packagesDir }, 'there is no task package to run');

    const metrics = new BrokerMetrics();
    const admission = new Admission<Flight>(config.limits, (flight, waitedMs) => offloads.spent(flight, waitedMs));
    let { createTender } = parts;
    if (createTender === undefined) {
      const blanks = new BlankTenders({ count: config.limits.blankTenders, isolation: config.isolation, log });
      undo.push(() => blanks.stop());
      await orCancelled(blanks.start(), signal);
      createTender = (imagePath, taskLog, isolation) => blanks.take(imagePath, taskLog, isolation);
    }
    const newTender = createTender;
    const pools = new TenderPools(config.limits, (digest) => admission.queuedFor(digest));
    const results = new ResultStore(config.limits);
    const offloads = new Offloads(admission, results, metrics, config.limits, () => pools.planSoon());
    const kept = keptTasks(config.prestart, store.packages, log);
    const tended = store.packages.map((taskPackage) => {
      const { name, version } = taskPackage.config;
      const task = `${name} ${version}`;
      const pool: TenderPool = new TenderPool({
        name: taskPackage.digest,
        task,
        declaredBytes: declaredMemory(taskPackage.config),
        kept: kept.has(name),
        maxTenders: config.limits.maxTendersPerTask,
        idleMs: config.limits.idleMs,
        createTender: async () =>
          newTender(
            await store.imageFile(taskPackage),
            log.child({ task }),
            isolationFor(taskPackage, pool.isolation, config.isolation),
          ),
        onWaiting: () => offloads.pump(taskPackage.digest),
        onTrouble: (error) => {
          errors.add(task, error.code, error.message);
          // While another tender of it lives, what waits may still be served.
          if (pool.refused || pool.state === 'Quarantined') offloads.abandon(taskPackage.digest, error);
        },
        onChange: () => pools.plan(),
        log,
      });
      return { taskPackage, pool };
    });
    for (const { taskPackage, pool } of tended) {
      const { name, maxInput, costMs } = taskPackage.config;
      if (costMs !== undefined) admission.learn(taskPackage.digest, costMs);
      pools.add(pool);
      offloads.add({ digest: taskPackage.digest, name, maxInput, pool });
    }
    undo.push(() => pools.stop());
    metrics.watchPools(() => pools.pools);
    await orCancelled(pools.start(), signal);

    const announce = (): Announcement => announcementOf(config.id, tended);
    const ingress = new Ingress({
      identity,
      listen: config.listen,
      maxInput: announce().maxInput,
      maxClients: config.limits.maxClients,
      announcement: () => encodeAnnouncement(announce()),
      submit: (offload, answer) => offloads.submit(offload, answer),
      onRefused: refusalLog(log, errors),
      log,
    });
    undo.push(() => ingress.stop());
    await unlessCancelled(ingress.start());
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
      packages: tended.map((one) => packageStatus(one)),
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
    log.info({ broker: config.id, url, api: config.apiSocket, packages: tended.length }, 'the broker takes offloads');
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
    log.warn({ client, code: error.code, err: error.message, unsaid }, 'a client was refused');
    quietUntil = now + 100;
    unsaid = 0;
  };
}

/** What `auto` chose for the first tender of a task stays, so that all tenders of a pool are alike. */
function isolationFor({ config }: TaskPackage, chosen: string, wish: WishedIsolation): WishedIsolation {
  if (chosen === 'vm' || chosen === 'process') return chosen;
  return config.isolation === 'any' ? wish : config.isolation;
}

/** What --prestart names. A name that is none of a task is said and otherwise does no harm. */
function keptTasks(
  prestart: BrokerConfig['prestart'],
  packages: readonly TaskPackage[],
  log: Logger,
): ReadonlySet<string> {
  const names = new Set(packages.map(({ config }) => config.name));
  if (prestart === 'all') return names;
  for (const name of prestart) {
    if (!names.has(name)) log.warn({ task: name }, 'a task that is to be started with the broker is not there');
  }
  return new Set(prestart);
}

function packageStatus({ taskPackage, pool }: Tended): BrokerStatus['packages'][number] {
  const { digest, config } = taskPackage;
  const { tenders } = pool;
  return {
    digest,
    name: config.name,
    version: config.version,
    tender: pool.state,
    tenders: tenders.length,
    memory: tenders.reduce((sum, { bytes }) => sum + bytes, 0),
    reason: pool.trouble ?? '',
    isolation: pool.isolation,
    calls: pool.calls,
    cpuMs: pool.cpuMs,
    peakMemory: pool.peakMemory,
    restarts: pool.restarts,
  };
}

/** Only what can be run is announced; a tender that is being replaced, and quarantine, which ends, count as what can. */
function announcementOf(broker: string, tended: readonly Tended[]): Announcement {
  const tasks = tended
    .filter(({ pool }) => !pool.refused)
    .map(({ taskPackage: { digest, config } }) => {
      const { name, version, maxInput, maxOutput } = config;
      return { digest, name, version, maxInput, maxOutput };
    });
  const isolations = [...new Set(tended.map(({ pool }) => pool.isolation).filter(Boolean))].sort();
  return { broker, tasks, isolations, maxInput: Math.max(0, ...tasks.map(({ maxInput }) => maxInput)) };
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

import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import type { BrokerStatus } from '../../shared/api/status.ts';
import type { Logger } from '../../shared/base/log.ts';
import { refusalOf } from '../../shared/base/refusal.ts';
import type { TaskState } from '../../shared/task-package/format.ts';
import type { TaskPackage } from '../../shared/task-package/reader.ts';
import { sizesFor } from '../../shared/task-package/state-frame.ts';
import type { Admission } from '../admission/admission.ts';
import type { Announcement } from '../ingress/codec.ts';
import type { PackageStore } from '../packages/package-store.ts';
import type { StoredPackage } from '../packages/stored-package.ts';
import { declaredMemory } from '../packages/usable.ts';
import type { TenantRules } from '../tenants/policy.ts';
import { TenderPool } from '../tenders/pool/pool.ts';
import type { PoolLimits } from '../tenders/pool/pool-plan.ts';
import { processPer } from '../tenders/pool/pool-use.ts';
import type { TenderPools } from '../tenders/pool/pools.ts';
import type { Tender, WishedIsolation } from '../tenders/process/tender.ts';
import type { PendingOffload, Runnable } from './offload.ts';
import type { Offloads } from './offloads.ts';

/** `declaredBytes`: memory, largest input and largest output of the task together. */
export type CreateTender = (
  imagePath: string,
  log: Logger,
  isolation: WishedIsolation,
  declaredBytes: number,
) => Tender;

export interface ServedTasksOptions {
  readonly store: PackageStore;
  readonly tenants: TenantRules;
  readonly pools: TenderPools;
  readonly offloads: Offloads;
  readonly admission: Admission<PendingOffload>;
  readonly isolation: WishedIsolation;
  /** Names of the tasks that have a tender waiting while there is room. */
  readonly prestart: 'all' | readonly string[];
  readonly limits: PoolLimits;
  readonly createTender: CreateTender;
  readonly errors: RecentErrors;
  readonly log: Logger;
}

interface Served {
  readonly taskPackage: TaskPackage;
  readonly pool: TenderPool;
}

/** The tasks that can be offloaded to this broker now: each has a pool of tenders. */
export class ServedTasks {
  readonly #options: ServedTasksOptions;
  /** By the digest of the package. */
  readonly #served = new Map<string, Served>();

  constructor(options: ServedTasksOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#served.size;
  }

  /** Name and version of a task; undefined when it is not served here. */
  taskOf(digest: string): { readonly name: string; readonly version: string } | undefined {
    return this.#served.get(digest)?.taskPackage.config;
  }

  /** The largest state that the tasks of this name declare that the tenant may run; undefined: there is none. */
  stateOf(tenant: string, name: string): TaskState | undefined {
    const states = [...this.#served.values()].flatMap(({ taskPackage: { digest, config } }) =>
      config.name === name && config.state !== undefined && this.#seenBy(digest).mayRun(tenant) ? [config.state] : [],
    );
    return states.sort((a, b) => b.maxBytes - a.maxBytes)[0];
  }

  /** The package is verified, and in the store. */
  add(taskPackage: TaskPackage): void {
    const { admission, offloads, pools } = this.#options;
    const { digest } = taskPackage;
    const { name, state, costMs } = taskPackage.config;
    const { maxInput } = sizesFor(taskPackage.config);
    const pool = this.#poolOf(taskPackage);
    this.#served.set(digest, { taskPackage, pool });
    if (costMs !== undefined) admission.declare(digest, costMs);
    pools.add(pool);
    const memory = declaredMemory(taskPackage.config);
    offloads.add({ digest, name, maxInput, state, memory, pool, ...this.#seenBy(digest) });
    pools.plan();
  }

  /** Offloads that wait for this package are turned away; those that run go on to their end. */
  remove(digest: string): void {
    const { offloads, pools } = this.#options;
    this.#served.delete(digest);
    offloads.remove(digest);
    pools.remove(digest);
  }

  /** Offloads that wait for it, or ask for it later, are told why it is not run; those that run are ended at once. */
  withdraw({ digest, name, fault }: StoredPackage): void {
    const { offloads, pools } = this.#options;
    this.#served.delete(digest);
    offloads.withdraw({ digest, name, why: refusalOf(fault!), ...this.#seenBy(digest) });
    pools.end(digest);
  }

  /** Only what can be run is announced; a tender that is being replaced, and quarantine, which ends, count as what can. */
  announcement(broker: string): Omit<Announcement, 'queueMs' | 'freeTenders'> {
    const served = [...this.#served.values()];
    const tasks = served
      .filter(({ pool }) => !pool.refused)
      .map(({ taskPackage: { digest, config } }) => {
        const { name, version, state } = config;
        return { digest, name, version, ...sizesFor(config), ...(state && { hasState: true }) };
      });
    const isolations = [...new Set(served.map(({ pool }) => pool.isolation).filter(Boolean))].sort();
    const maxInput = Math.max(0, ...tasks.map((task) => task.maxInput));
    return { broker, tasks, isolations, maxInput };
  }

  status(): BrokerStatus['packages'] {
    return [...this.#served.values()].map(({ taskPackage, pool }) => {
      const { digest, config } = taskPackage;
      const { tenders } = pool;
      const [pushed] = this.#options.store.originsOf(digest);
      return {
        digest,
        name: config.name,
        version: config.version,
        tender: pool.state,
        tenders: tenders.length,
        memory: tenders.reduce((sum, { bytes }) => sum + bytes, 0),
        reason: pool.trouble ?? '',
        isolation: pool.isolation,
        processPer: processPer(tenders),
        calls: pool.use.calls,
        cpuMs: pool.use.cpuMs,
        peakMemory: pool.use.peakMemory,
        restarts: pool.restarts,
        ...(pushed === undefined ? {} : { pushed }),
      };
    });
  }

  #seenBy(digest: string): Pick<Runnable, 'mayRun' | 'maySee'> {
    const { store, tenants } = this.#options;
    return {
      mayRun: (tenant) => tenants.mayRun(tenant, store.get(digest)?.owners),
      // Of one that is withdrawn those who pushed it count, whether it may be run for them or not.
      maySee: (tenant) => tenants.maySee(tenant, ownersOf(store, digest)),
    };
  }

  #poolOf(taskPackage: TaskPackage): TenderPool {
    const { store, pools, offloads, prestart, limits, isolation, createTender, errors, log } = this.#options;
    const { digest, config } = taskPackage;
    const task = `${config.name} ${config.version}`;
    const pool: TenderPool = new TenderPool({
      name: digest,
      task,
      declaredBytes: declaredMemory(config),
      kept: prestart === 'all' || prestart.includes(config.name),
      maxTenders: limits.maxTendersPerTask,
      idleMs: limits.idleMs,
      createTender: async () =>
        createTender(
          await store.imageFile(taskPackage),
          log.child({ task }),
          isolationFor(taskPackage, pool.isolation, isolation),
          declaredMemory(config),
        ),
      onWaiting: () => offloads.dispatch(),
      onTrouble: (error) => {
        errors.add(task, error.code, error.message);
        // Of one that was removed, nothing waits any more.
        if (this.#served.get(digest)?.pool !== pool) return;
        // While another tender of it lives, what waits may still be served.
        if (pool.refused || pool.state === 'Quarantined') offloads.abandon(digest, error);
      },
      onChange: () => pools.plan(),
      log,
    });
    return pool;
  }
}

function ownersOf(store: PackageStore, digest: string): readonly string[] | undefined {
  const origins = store.originsOf(digest);
  return origins.length === 0 ? undefined : origins.map(({ tenant }) => tenant);
}

/** What `auto` chose for the first tender of a task stays, so that all tenders of a pool are alike. */
function isolationFor({ config }: TaskPackage, chosen: string, wish: WishedIsolation): WishedIsolation {
  if (chosen === 'vm' || chosen === 'process') return chosen;
  return config.isolation === 'any' ? wish : config.isolation;
}

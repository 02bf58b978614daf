import { ErrorCode, errorName, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { SerialQueue } from '../../shared/base/serial-queue.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import type { FileOffer, PushOutcome } from '../../shared/task-package/push-codec.ts';
import type { TaskPackage } from '../../shared/task-package/reader.ts';
import type { BrokerMetrics } from '../telemetry/metrics.ts';
import type { TenantRules } from '../tenants/policy.ts';
import { isAnother, type PackageStore } from './package-store.ts';
import type { PushLimits } from './push-limits.ts';
import { type PushClient, PushSession, type UploadRules } from './push-session.ts';
import type { IncomingPackage, Origin, PushedPackages } from './pushed-packages.ts';
import type { StoredPackage } from './stored-package.ts';

export interface PackageUploadsOptions {
  readonly store: PackageStore;
  readonly pushed: PushedPackages;
  /** Says who may push, and how much. */
  readonly tenants: TenantRules;
  /** The policy file, for messages; undefined: there is none, and options say who may push. */
  readonly policyFile: string | undefined;
  readonly limits: PushLimits;
  /** The largest input that the broker takes over the wire as long as it runs, in bytes. */
  readonly maxInput: number;
  /** A package is in the store, to be served from now on. */
  readonly onPushed: (found: TaskPackage) => void;
  /** A package that is there already has come to belong to other tenants than before. */
  readonly onShared: () => void;
  /** A package is to be let go. */
  readonly onRemoved: (digest: string) => void;
  /** A tenant has pushed or removed a package; told after the one and before the other takes effect. */
  readonly onChanged: (event: 'push' | 'remove', client: VehiclePrincipal, digest: string) => void;
  /** A push came to nothing. */
  readonly onRefused: (client: string, error: KerbError) => void;
  readonly metrics: BrokerMetrics;
  readonly log: Logger;
}

/** Bytes of its tenant's quota that an open push may still use. */
interface Reservation {
  readonly tenant: string;
  readonly bytes: number;
}

/**
 * The rules for pushes, and the way of a package from there on: it is verified by the store exactly as those that are
 * found when the broker starts, then put on the disk, then served, then acknowledged.
 */
export class PackageUploads implements UploadRules {
  readonly #options: PackageUploadsOptions;
  readonly #sessions = new Set<PushSession>();
  readonly #open = new Set<Reservation>();
  /** One change of the store at a time. */
  readonly #changes = new SerialQueue();
  #stopping = false;

  constructor(options: PackageUploadsOptions) {
    this.#options = options;
  }

  /** For one connection; to be ended with it. */
  session(client: VehiclePrincipal): PushClient {
    const session = new PushSession(client, this, this.#options.pushed, this.#options.limits, () =>
      this.#sessions.delete(session),
    );
    this.#sessions.add(session);
    return session;
  }

  /** Gives up what is on its way and waits for what is being stored. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all([...this.#sessions].map((session) => session.end()));
    await this.#changes.idle();
  }

  /** Runs an action while nothing else changes the store. */
  alone<T>(action: () => Promise<T>): Promise<T> {
    return this.#changes.run(action);
  }

  /** @throws KerbError PushForbidden | BrokerStopping */
  checkMayPush({ tenant }: VehiclePrincipal): void {
    const { tenants, policyFile } = this.#options;
    if (this.#stopping) throw new KerbError(ErrorCode.BrokerStopping, 'this broker is stopping; use another one');
    if (tenants.policyOf(tenant).packages.push) return;
    const pushing = [...tenants.policy.tenants.values(), tenants.policy.others].some(({ packages }) => packages.push);
    const why = pushing ? `takes no pushes from tenant ${tenant}` : 'takes no pushes';
    const how =
      policyFile === undefined ? `with \`kerb broker serve --push-from "${tenant}"\`` : 'in its policy (packages.push)';
    throw new KerbError(ErrorCode.PushForbidden, `this broker ${why}; whoever runs it allows them ${how}`);
  }

  /**
   * True: there is nothing to send. A tenant may push its package again with other signatures, to renew them. It does
   * not learn that another tenant has pushed the same one: it has to send it all the same.
   */
  async isThere(digest: string, files: readonly FileOffer[], { tenant }: VehiclePrincipal): Promise<boolean> {
    const { store, pushed } = this.#options;
    const found = store.get(digest);
    if (found === undefined || found.fault !== undefined) return false;
    return found.owners === undefined || (found.owners.includes(tenant) && (await pushed.holds(digest, files)));
  }

  /**
   * Takes `bytes` of the tenant's quota for this package; the result gives them back.
   * @throws KerbError TaskTooLarge | PushQuotaSpent | TooManyFromTenant
   */
  reserve(digest: string, bytes: number, { tenant }: VehiclePrincipal): () => void {
    const { limits, store } = this.#options;
    if (bytes > limits.maxPackageBytes) {
      throw new KerbError(
        ErrorCode.TaskTooLarge,
        `the package has ${bytes} bytes; this broker takes ${limits.maxPackageBytes} (--push-size)`,
      );
    }
    const open = [...this.#open].filter((one) => one.tenant === tenant);
    if (open.length >= limits.maxTenantPushes) {
      const message = `tenant ${tenant} has ${open.length} pushes under way here, as many as it may; try again`;
      throw new KerbError(ErrorCode.TooManyFromTenant, message, { retryAfterMs: 1000 });
    }
    const { packages } = this.#options.tenants.policyOf(tenant);
    const there = [...store.pushes()].filter((one) => one.tenant === tenant && one.digest !== digest);
    const advice = 'remove one with `kerb task remove`';
    if (there.length + open.length >= packages.count) {
      const message = `tenant ${tenant} may keep ${packages.count} packages here (${this.#source('count')}); ${advice}`;
      throw new KerbError(ErrorCode.PushQuotaSpent, message);
    }
    const used = [...there, ...open].reduce((sum, one) => sum + one.bytes, 0);
    if (used + bytes > packages.bytes) {
      throw new KerbError(
        ErrorCode.PushQuotaSpent,
        `tenant ${tenant} keeps ${used} bytes of packages here and may keep ${packages.bytes} (${this.#source('bytes')}); ${bytes} more are too many: ${advice}`,
      );
    }
    const reservation = { tenant, bytes };
    this.#open.add(reservation);
    return () => this.#open.delete(reservation);
  }

  /**
   * Verifies what has come in, keeps it and has it served. @throws KerbError: as PackageStore.verify, and
   * PackageNotStored
   */
  store(incoming: IncomingPackage, digest: string, client: VehiclePrincipal, bytes: number): Promise<PushOutcome> {
    return this.#changes.run<PushOutcome>(async () => {
      const { store, onPushed, onShared, onChanged, log } = this.#options;
      this.checkMayPush(client);
      // Another connection may have pushed it meanwhile.
      if (await this.isThere(digest, incoming.files, client)) return 'ALREADY_THERE';
      const origin: Origin = { tenant: client.tenant, vehicle: client.id, bytes, at: new Date().toISOString() };
      const others = store.originsOf(digest).filter(({ tenant }) => tenant !== client.tenant);
      const found = await this.#verified(incoming.packageDir, digest, [...others, origin]);
      await store.checkPolicy(found, client.tenant);
      const before = store.get(digest);
      const wasServed = before !== undefined && before.fault === undefined;
      const kept = await store.keep(found, incoming);
      if (wasServed) onShared();
      else onPushed(kept);
      onChanged('push', client, digest);
      log.info(
        { task: `${found.name} ${found.version}`, digest, tenant: client.tenant, vehicle: client.id },
        'task package pushed',
      );
      return 'STORED';
    });
  }

  /** @throws KerbError UnknownPackage; PushForbidden: it is not this tenant's */
  remove(digest: string, client: VehiclePrincipal): Promise<PushOutcome> {
    return this.#changes.run<PushOutcome>(async () => {
      const { store, tenants, onRemoved, onShared, onChanged, log } = this.#options;
      this.checkMayPush(client);
      const origins = store.originsOf(digest);
      const isOwn = origins.some(({ tenant }) => tenant === client.tenant);
      const owners = origins.length === 0 ? undefined : origins.map(({ tenant }) => tenant);
      const isSeen = store.get(digest) !== undefined && tenants.maySee(client.tenant, owners);
      if (!isOwn && !isSeen) {
        throw new KerbError(
          ErrorCode.UnknownPackage,
          `this broker has no task package ${digest}; it may have been removed already`,
        );
      }
      if (!isOwn) {
        const message = `tenant ${client.tenant} has not pushed ${digest}; only the tenant that pushed it, or the operator of the broker, can remove it`;
        throw new KerbError(ErrorCode.PushForbidden, message);
      }
      const isLast = await store.disown(digest, client.tenant);
      onChanged('remove', client, digest);
      if (isLast) {
        onRemoved(digest);
        await store.remove(digest);
      } else onShared();
      log.info({ digest, tenant: client.tenant, vehicle: client.id }, 'pushed task package removed');
      return 'REMOVED';
    });
  }

  /** A push or a removal came to nothing. Gives what its client is told. */
  failed(client: VehiclePrincipal, error: unknown): KerbError {
    const told = isKerbError(error) ? error : notStored(error);
    const { metrics, log, onRefused } = this.#options;
    metrics.pushed(client.tenant, errorName(told.code));
    if (told !== error) log.error({ err: messageOf(error) }, 'cannot store a pushed task package');
    onRefused(`vehicle ${client.id}`, told);
    return told;
  }

  /** A push or a removal came to an end that is no failure. */
  ended({ tenant }: VehiclePrincipal, outcome: PushOutcome | 'broken_off'): void {
    this.#options.metrics.pushed(tenant, outcome.toLowerCase());
  }

  /** The place where the operator sets this limit of the tenant. */
  #source(limit: 'count' | 'bytes'): string {
    if (this.#options.policyFile !== undefined) return `packages.${limit} of its policy`;
    return limit === 'count' ? '--push-packages' : '--push-quota';
  }

  async #verified(dir: string, digest: string, origins: readonly Origin[]): Promise<StoredPackage> {
    try {
      const found = await this.#options.store.verify(dir, origins);
      if (found.digest !== digest) throw isAnother(dir, digest, found.digest);
      const { name, version, maxInput } = found.taskPackage.config;
      const { maxInput: limit } = this.#options;
      if (maxInput <= limit) return found;
      throw new KerbError(
        ErrorCode.TaskTooLarge,
        `task ${name} ${version} takes inputs of ${maxInput} bytes; this broker was started for ${limit} (--push-input)`,
      );
    } catch (error) {
      if (!isKerbError(error)) throw error;
      // The path on this machine is not shown to the sender.
      throw new KerbError(error.code, error.message.replaceAll(dir, 'the pushed package'), {}, { cause: error });
    }
  }
}

function notStored(error: unknown): KerbError {
  const why = error instanceof Error && 'code' in error ? String(error.code) : 'see its log';
  return new KerbError(ErrorCode.PackageNotStored, `the broker could not store the package (${why}); try again later`);
}

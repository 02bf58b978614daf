import { join } from 'node:path';
import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { quoted } from '../../shared/base/quoted.ts';
import { loadTrust, type TrustedKeys } from '../../shared/task-package/signer.ts';
import type { BrokerConfig } from '../config.ts';
import { unknownKeys } from '../tenants/package-rules.ts';
import type { TenantRules } from '../tenants/policy.ts';
import type { Isolation, WishedIsolation } from '../tenders/process/tender.ts';
import { PackageStore } from './package-store.ts';
import { PushedPackages } from './pushed-packages.ts';
import { VERSIONS_FILE, VersionFloors } from './version-floors.ts';

/** The isolations that tasks may demand, by the broker's. With `auto` a tender finds out whether `vm` works here. */
const ISOLATIONS: Readonly<Record<WishedIsolation, readonly Isolation[]>> = {
  process: ['process'],
  vm: ['vm'],
  auto: ['process', 'vm'],
};

export interface LoadedPackages {
  readonly store: PackageStore;
  readonly pushed: PushedPackages;
  readonly floors: VersionFloors;
  /** Reports keys of the policy that are not in the trust folder: to be called when it has changed. */
  checkKeys(): void;
}

/**
 * Verifies the packages that are there when a broker starts. One that cannot be used is reported, and costs no other one.
 * @throws KerbError BadConfig
 */
export async function loadPackages(
  config: BrokerConfig,
  errors: RecentErrors,
  log: Logger,
  tenants: TenantRules,
): Promise<LoadedPackages> {
  const { trustDir, packagesDir, stateDir } = config;
  const trusted = trustDir === undefined ? undefined : await loadTrust(trustDir);
  if (config.push !== undefined && config.push.tenants.length > 0 && trusted === undefined) {
    throw new KerbError(
      ErrorCode.BadConfig,
      '--push-from needs --trust: a pushed package runs only when a trusted signer has signed it',
    );
  }
  reportUnknownKeys(tenants, trusted, errors, log);
  const pushed = new PushedPackages(join(stateDir, 'pushed'));
  const floors = new VersionFloors(join(stateDir, VERSIONS_FILE));
  const store = new PackageStore({
    packagesDir,
    pushed,
    imagesDir: join(stateDir, 'images'),
    isolations: ISOLATIONS[config.isolation],
    maxMemory: config.limits.tenderMemory,
    trusted,
    rules: {
      get policy() {
        return tenants.policy;
      },
      floors,
    },
  });
  await store.load();
  for (const { path, error } of store.rejected) {
    log.error({ path, code: error.code, err: error.message }, 'a task package cannot be used');
    errors.add(path, error.code, error.message);
  }
  if (store.packages.length === 0) log.warn({ path: packagesDir }, 'there is no task package to run');
  return { store, pushed, floors, checkKeys: () => reportUnknownKeys(tenants, trusted, errors, log) };
}

/** A key that is not known is a typo as a rule, and one under `revoked` would revoke nothing. */
function reportUnknownKeys(
  { policy }: TenantRules,
  trusted: TrustedKeys | undefined,
  errors: RecentErrors,
  log: Logger,
): void {
  const known = [...(trusted ?? [])].map(([keyId, { name }]) => ({ keyId, name }));
  for (const key of unknownKeys(policy, known)) {
    const message = `the policy names the key ${quoted(key)}, which is not in the trust folder; check its spelling`;
    errors.add('policy', ErrorCode.BadPolicy, message);
    log.warn({ client: key }, 'the policy names a key that is not in the trust folder');
  }
}

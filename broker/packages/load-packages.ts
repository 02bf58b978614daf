import { join } from 'node:path';
import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { loadTrust } from '../../shared/task-package/signer.ts';
import type { BrokerConfig } from '../config.ts';
import type { Isolation, WishedIsolation } from '../tenders/process/tender.ts';
import { PackageStore } from './package-store.ts';
import { PushedPackages } from './pushed-packages.ts';

/** What tasks may demand of a broker with this wish. With `auto` the tender of one that demands `vm` finds out whether it can. */
const ISOLATIONS: Readonly<Record<WishedIsolation, readonly Isolation[]>> = {
  process: ['process'],
  vm: ['vm'],
  auto: ['process', 'vm'],
};

/**
 * Verifies the packages that are there when a broker starts. One that cannot be used is reported, and costs no other one.
 * @throws KerbError BadConfig
 */
export async function loadPackages(
  config: BrokerConfig,
  errors: RecentErrors,
  log: Logger,
): Promise<{ readonly store: PackageStore; readonly pushed: PushedPackages }> {
  const { trustDir, packagesDir, stateDir } = config;
  const trusted = trustDir === undefined ? undefined : await loadTrust(trustDir);
  if (config.push !== undefined && config.push.tenants.length > 0 && trusted === undefined) {
    throw new KerbError(
      ErrorCode.BadConfig,
      '--push-from needs --trust: a pushed package runs only when a trusted signer has signed it',
    );
  }
  const pushed = new PushedPackages(join(stateDir, 'pushed'));
  const store = new PackageStore({
    packagesDir,
    pushed,
    imagesDir: join(stateDir, 'images'),
    isolations: ISOLATIONS[config.isolation],
    maxMemory: config.limits.tenderMemory,
    trusted,
  });
  await store.load();
  for (const { path, error } of store.rejected) {
    log.error({ path, code: error.code, err: error.message }, 'a task package cannot be used');
    errors.add(path, error.code, error.message);
  }
  if (store.packages.length === 0) log.warn({ path: packagesDir }, 'there is no task package to run');
  return { store, pushed };
}

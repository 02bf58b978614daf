import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ForgottenTenant, StatePage } from '../../shared/api/broker.ts';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { isTenant } from '../../shared/identity/identity.ts';
import type { ServedTasks } from '../offloads/served-tasks.ts';
import type { PackageStore } from '../packages/package-store.ts';
import type { KeptResults } from '../results/kept-results.ts';
import type { StateStore } from '../state/state-store.ts';
import type { BrokerTelemetry } from '../telemetry/telemetry.ts';

/** The places where something of a tenant may be. */
export interface TenantData {
  readonly state: Pick<StateStore, 'ask'>;
  readonly results: Pick<KeptResults, 'forgetTenant'>;
  readonly store: Pick<PackageStore, 'pushes' | 'disown' | 'remove'>;
  readonly served: Pick<ServedTasks, 'remove'>;
  readonly telemetry: Pick<BrokerTelemetry, 'audit'>;
  readonly stateDir: string;
  /** Packages have gone. */
  readonly announce: () => void;
}

/** The body of `POST /v1/forget`: `{ "tenant": "NAME" }`. @throws KerbError BadControlRequest */
export function forgetRequest(body: Buffer): string {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    // Said below.
  }
  if (typeof value === 'object' && value !== null && Object.keys(value).join() === 'tenant') {
    const { tenant } = value as { tenant: unknown };
    if (typeof tenant === 'string' && isTenant(tenant)) return tenant;
  }
  throw new KerbError(ErrorCode.BadControlRequest, 'not a valid request to forget: it must be { "tenant": "NAME" }');
}

/**
 * Removes what is kept of a tenant: the state of its sessions, its results, and the packages that only it has pushed. What
 * waits or runs for it goes on.
 * @param by whoever wants it, for the audit log
 * @throws KerbError StateNotKept: nothing was removed; PackageNotStored: all but a package was
 */
export async function forgetTenant(data: TenantData, tenant: string, by: string): Promise<ForgottenTenant> {
  const { state, results, telemetry, stateDir } = data;
  const reply = await state.ask({ kind: 'forget', tenant });
  if (reply.kind !== 'forgotten') {
    const reason = reply.kind === 'failed' ? reply.reason : reply.kind;
    throw new KerbError(ErrorCode.StateNotKept, `nothing of tenant ${tenant} was removed: ${reason}; try again`);
  }
  const { packages, trouble } = await removePackages(data, tenant);
  const { keys, outputs, bytes } = reply;
  const { count, isScrubbed } = await results.forgetTenant(tenant);
  const forgotten = { tenant, keys, outputs, stateBytes: bytes, results: count, packages };
  const what = `${keys} keys, ${outputs} outputs, ${forgotten.results} results, ${packages.length} packages`;
  telemetry.audit({ event: 'forget', by, tenant, detail: trouble === '' ? what : `${what}; not all: ${trouble}` });
  if (trouble !== '') {
    const message = `of tenant ${tenant} were removed: ${what}; a package could not be: ${trouble}; try again`;
    throw new KerbError(ErrorCode.PackageNotStored, message);
  }
  // These are of all tenants, and were put there for whoever wants to look into the damage.
  const aside = ['state', 'results']
    .map((name) => join(stateDir, `${name}.damaged`))
    .filter((path) => existsSync(path));
  return { ...forgotten, isScrubbed: reply.isScrubbed && isScrubbed, aside };
}

/** @returns those that were removed, and why another one was not; empty: all were */
async function removePackages({ store, served, announce }: TenantData, tenant: string) {
  const packages: string[] = [];
  let trouble = '';
  for (const { digest, tenant: owner } of [...store.pushes()]) {
    if (owner !== tenant) continue;
    try {
      if (await store.disown(digest, tenant)) {
        served.remove(digest);
        await store.remove(digest);
      }
      packages.push(digest);
    } catch (error) {
      trouble = messageOf(error);
    }
  }
  if (packages.length > 0) announce();
  return { packages, trouble };
}

/** @throws KerbError StateNotKept */
export async function statePage(
  state: Pick<StateStore, 'ask'>,
  limit: number,
  tenant: string | undefined,
): Promise<StatePage> {
  const reply = await state.ask({ kind: 'list', tenant, limit });
  if (reply.kind === 'listed') return { total: reply.total, keys: reply.rows };
  const reason = reply.kind === 'failed' ? reply.reason : reply.kind;
  throw new KerbError(ErrorCode.StateNotKept, `the state of sessions cannot be read now: ${reason}`);
}

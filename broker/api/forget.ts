import type { ForgottenTenant, StatePage } from '../../shared/api/broker.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
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
 * @throws KerbError StateNotKept: nothing was removed
 */
export async function forgetTenant(data: TenantData, tenant: string, by: string): Promise<ForgottenTenant> {
  const { state, results, store, served, telemetry, announce } = data;
  const reply = await state.ask({ kind: 'forget', tenant });
  if (reply.kind !== 'forgotten') {
    const reason = reply.kind === 'failed' ? reply.reason : reply.kind;
    throw new KerbError(ErrorCode.StateNotKept, `nothing of tenant ${tenant} was removed: ${reason}; try again`);
  }
  const packages = [...store.pushes()].filter((one) => one.tenant === tenant).map(({ digest }) => digest);
  for (const digest of packages) {
    if (!(await store.disown(digest, tenant))) continue;
    served.remove(digest);
    await store.remove(digest);
  }
  if (packages.length > 0) announce();
  const { keys, outputs, bytes } = reply;
  const { count, isScrubbed } = await results.forgetTenant(tenant);
  const forgotten = { tenant, keys, outputs, stateBytes: bytes, results: count, packages };
  const what = `${keys} keys, ${outputs} outputs, ${forgotten.results} results, ${packages.length} packages`;
  telemetry.audit({ event: 'forget', by, tenant, detail: what });
  return { ...forgotten, isScrubbed: reply.isScrubbed && isScrubbed };
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

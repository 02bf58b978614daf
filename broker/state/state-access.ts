import { ErrorCode } from '../../shared/base/errors.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';
import { matchesAny } from '../tenants/name-pattern.ts';
import type { SharedKeys, TenantRules } from '../tenants/policy.ts';
import type { StateKey } from './state-types.ts';

/** A key as its asker names it. */
export interface AskedKey {
  readonly key: string;
  /** Whose it is; empty: the asker's own. */
  readonly tenant: string;
}

/**
 * The key that is meant, and whose value it is: of the asker's vehicle, unless the policy of its tenant shares it; of another
 * tenant only where that one's policy names the asker's tenant.
 */
export function keyFor(
  rules: Pick<TenantRules, 'policyOf'>,
  { tenant, vehicle }: { readonly tenant: string; readonly vehicle: string },
  task: string,
  asked: AskedKey,
): StateKey | Refusal {
  const { key } = asked;
  const owner = asked.tenant === '' ? tenant : asked.tenant;
  const shared = rules.policyOf(owner).state.shared.filter((one) => names(one, task, key));
  if (owner === tenant) return { tenant, task, vehicle: shared.length > 0 ? '' : vehicle, key };
  if (shared.some(({ tenants }) => matchesAny(tenants, tenant))) return { tenant: owner, task, vehicle: '', key };
  // It does not say whether there is such a tenant, or such a key.
  const message = `tenant ${tenant} may not use the key ${key} of tenant ${owner}; that tenant can share it (state.shared of its policy)`;
  return refusal(ErrorCode.StateForbidden, message);
}

function names({ keys, tasks }: SharedKeys, task: string, key: string): boolean {
  return matchesAny(keys, key) && matchesAny(tasks, task);
}

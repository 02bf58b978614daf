import type { TenantAccounts, TenantRules } from './policy.ts';
import { quotaSpent } from './quota-refusals.ts';

/** The part of the tenants that offloads are held to. */
export type OffloadTenants = TenantAccounts & Pick<TenantRules, 'bounded'>;

/** No tenant has limits. */
export const UNLIMITED: OffloadTenants = {
  bounded: (offload) => offload,
  check: () => undefined,
  taken: () => {},
  left: () => {},
  mayBegin: () => true,
  begun: (tenant, memory, now) => ({ tenant, memory, startedAt: now, longestMs: Number.POSITIVE_INFINITY }),
  ended: () => {},
  endedEarly: () => quotaSpent('cpu', 'the task was ended'),
};

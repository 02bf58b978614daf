import { availableParallelism } from 'node:os';
import type { BrokerConfig } from '../config.ts';
import type { ClassShares, Policy, TenantPolicy } from './policy.ts';

const MIB = 1024 * 1024;
/** Milliseconds. The protocol has no larger one, and no broker refused it before there were policies. */
const LARGEST_BUDGET_MS = 3_600_000;
/** Milliseconds: an endless loop costs no more. */
const LONGEST_RUN_MS = 60_000;

const WEEK_MS = 7 * 86_400_000;

export const DEFAULT_CLASS_SHARES: ClassShares = { safety: 0, high: 0.2, normal: 0.1, idle: 0.02 };

/** The limits of a tenant about which no policy says more; some come from options of `kerb broker serve`. */
export function builtInTenant({ limits, push }: Pick<BrokerConfig, 'limits' | 'push'>): TenantPolicy {
  // One tender of each task is left for the others, whatever one tenant's offloads do.
  const running = Math.max(1, limits.maxTendersPerTask - 1);
  return {
    weight: 1,
    highestClass: 'normal',
    offloads: limits.maxQueuedPerTenant + limits.maxTenders,
    running,
    largestBudgetMs: LARGEST_BUDGET_MS,
    longestRunMs: LONGEST_RUN_MS,
    cpu: { perMinuteMs: Number.POSITIVE_INFINITY, burstMs: Number.POSITIVE_INFINITY },
    memory: Number.POSITIVE_INFINITY,
    bytes: limits.maxQueuedBytes,
    results: { count: Math.ceil(limits.maxCount / 2), bytes: Math.ceil(limits.maxBytes / 2), keepMs: 3_600_000 },
    state: { keys: 10_000, bytes: 32 * MIB, ttlMs: WEEK_MS, shared: [] },
    packages: {
      push: false,
      count: push?.limits.maxTenantPackages ?? 0,
      bytes: push?.limits.maxTenantBytes ?? 0,
    },
    connections: Math.max(1, Math.floor((limits.maxClients * 3) / 4)),
    connectionsPerVehicle: 16,
    requestsPerSecond: 5000 * availableParallelism(),
    unread: 32 * MIB,
    isolation: 'any',
    shares: { see: [], run: [] },
  };
}

/** The policy of a broker without a policy file: all tenants may the same, and the tenants of `--push-from` may push. */
export function builtInPolicy(config: Pick<BrokerConfig, 'limits' | 'push'>): Policy {
  const others = builtInTenant(config);
  const pushing = { ...others, packages: { ...others.packages, push: true } };
  return {
    tenants: new Map((config.push?.tenants ?? []).map((tenant) => [tenant, pushing])),
    others,
    refuseOthers: false,
    classes: DEFAULT_CLASS_SHARES,
    signers: undefined,
    revoked: { keys: [], digests: [] },
    versions: 'any',
    neighbours: [],
    operators: [],
  };
}

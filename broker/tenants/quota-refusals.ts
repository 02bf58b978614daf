/** Refusals of offloads by quotas. `quota` names the key of the policy, and the message both numbers. */
import { ErrorCode } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';

export type Quota = 'offloads' | 'running' | 'largestBudget' | 'cpu' | 'bytes' | 'memory';

/** No hint is longer: what a tenant may changes, and another broker may be in reach by then. */
const MAX_RETRY_MS = 60_000;

export function quotaSpent(quota: Quota, sentence: string, retryAfterMs = 0): Refusal {
  const hint = retryAfterMs <= 0 ? 0 : Math.min(MAX_RETRY_MS, Math.max(1, Math.ceil(retryAfterMs)));
  return {
    code: ErrorCode.QuotaSpent,
    message: `${sentence} (quota ${quota} of this broker's policy)`,
    retryAfterMs: hint,
    quota,
  };
}

/** "1.5 s", "250 ms". */
export function timeText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${Number((ms / 1000).toFixed(1))} s`;
}

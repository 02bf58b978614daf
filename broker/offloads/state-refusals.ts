/** Reasons why an offload with the state of a session is not run here, or comes to no end. */
import { ErrorCode } from '../../shared/base/errors.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';
import type { StateReply } from '../state/state-types.ts';
import { RETRY_MS } from '../storage/database-thread.ts';
import type { PendingOffload } from './offload.ts';

export { otherOffload } from './refusals.ts';

/** No hint is longer, because what a tenant may changes. */
const MAX_HINT_MS = 60_000;

export function stateUnavailable(reason: string): Refusal {
  const message = `the state of sessions cannot be kept here now: ${reason}; nothing was written`;
  return refusal(ErrorCode.StateNotKept, message, RETRY_MS);
}

export function stateFull({
  tenant,
  quota,
  used,
  limit,
  retryAfterMs,
}: Extract<StateReply, { kind: 'quota' }>): Refusal {
  const hint = Math.min(MAX_HINT_MS, Math.ceil(retryAfterMs));
  if (quota === 'all') {
    const message = `the state of all tenants has ${used} bytes here, and may have ${limit}; nothing was written`;
    return refusal(ErrorCode.StateNotKept, message, hint);
  }
  const [what, key] = quota === 'state.keys' ? ['keys', 'keys'] : ['bytes of values and kept outputs', 'bytes'];
  const message = `tenant ${tenant} has ${used} ${what} here, and may have ${limit}; nothing was written (quota state.${key} of this broker's policy)`;
  return { code: ErrorCode.QuotaSpent, message, retryAfterMs: hint, quota };
}

export function turnTooLate({ deadline }: PendingOffload): Refusal {
  const message = `the budget of ${deadline.budgetText} was spent while others used the same key; it was not run`;
  return refusal(ErrorCode.BudgetSpentInQueue, message);
}

export function notDurableYet({ id, deadline }: PendingOffload): Refusal {
  const message = `the budget of ${deadline.budgetText} was spent while the state was written; ask again under the id ${id} to learn what came of it`;
  return refusal(ErrorCode.GuestDeadline, message);
}

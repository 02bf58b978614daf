import { ErrorCode, errorName, KerbError } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import type { OffloadRequest } from './offloader.ts';

/**
 * What a workload is told when a broker says no: BudgetExhausted when the budget was spent there, else OffloadRefused.
 * `context.refusal` is the broker's code, `context.retryAfterMs` its hint (0: none).
 */
export function failureOf(
  broker: string,
  request: OffloadRequest,
  { code, message, retryAfterMs }: Refusal,
  totalMs: number,
): KerbError {
  const sentence = message || `error ${code} (${errorName(code)})`;
  const context = { broker, refusal: code, retryAfterMs, totalMs };
  if (code === ErrorCode.BudgetSpentInQueue || code === ErrorCode.GuestDeadline) {
    return new KerbError(
      ErrorCode.BudgetExhausted,
      `the budget of ${budgetOf(request)} was spent at broker ${broker}: ${sentence}`,
      context,
    );
  }
  return new KerbError(ErrorCode.OffloadRefused, `broker ${broker} refused the offload: ${sentence}`, context);
}

/** The budget as its asker wrote it. What came of it has lost some microseconds on the way here, and has a tail of digits. */
export function budgetOf({ askedMs, budgetMs }: OffloadRequest): string {
  const ms = askedMs ?? budgetMs;
  return `${ms < 10 ? Number(ms.toFixed(1)) : Math.round(ms)} ms`;
}

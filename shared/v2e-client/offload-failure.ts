import { ErrorCode, errorName, KerbError } from '../base/errors.ts';
import type { Refusal } from '../base/refusal.ts';
import type { RoutedOffload } from '../protocol/offload-request.ts';

/**
 * What a workload is told when a broker says no: BudgetExhausted when the budget was spent there, else OffloadRefused.
 * `context.refusal` is the broker's code, `context.retryAfterMs` its hint (0: none),
 * `context.tryBroker` the id or address of a broker that it names instead.
 */
export function failureOf(
  broker: string,
  { deadline }: RoutedOffload,
  { code, message, retryAfterMs, tryBroker }: Refusal,
  totalMs: number,
): KerbError {
  const sentence = message || `error ${code} (${errorName(code)})`;
  const context = { broker, refusal: code, retryAfterMs, totalMs, ...(tryBroker !== undefined && { tryBroker }) };
  if (code === ErrorCode.BudgetSpentInQueue || code === ErrorCode.GuestDeadline) {
    return new KerbError(
      ErrorCode.BudgetExhausted,
      `the budget of ${deadline.budgetText} was spent at broker ${broker}: ${sentence}`,
      context,
    );
  }
  return new KerbError(ErrorCode.OffloadRefused, `broker ${broker} refused the offload: ${sentence}`, context);
}

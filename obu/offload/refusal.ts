import { ErrorCode, errorName, KerbError } from '../../shared/errors.ts';
import type { OffloadRequest } from './offloader.ts';

/** A Refusal as it came over the wire. */
export interface WireRefusal {
  readonly code?: number | null;
  readonly message?: string | null;
  readonly retryAfterMs?: number | null;
}

/**
 * What a workload is told when a broker says no: BudgetExhausted when the budget was spent there, else OffloadRefused.
 * `context.refusal` is the broker's code, `context.retryAfterMs` its hint (0: none).
 */
export function failureOf(broker: string, request: OffloadRequest, refusal: WireRefusal, totalMs: number): KerbError {
  const code = refusal.code ?? 0;
  const sentence = refusal.message || `error ${code} (${errorName(code)})`;
  const context = { broker, refusal: code, retryAfterMs: refusal.retryAfterMs ?? 0, totalMs };
  if (code === ErrorCode.BudgetSpentInQueue || code === ErrorCode.GuestDeadline) {
    return new KerbError(
      ErrorCode.BudgetExhausted,
      `the budget of ${inMs(request.budgetMs)} was spent at broker ${broker}: ${sentence}`,
      context,
    );
  }
  return new KerbError(ErrorCode.OffloadRefused, `broker ${broker} refused the offload: ${sentence}`, context);
}

/** A time as a person reads it: what remains of a budget has a tail of digits. */
export function inMs(ms: number): string {
  return `${Number(ms.toFixed(1))} ms`;
}

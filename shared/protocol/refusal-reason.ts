import { ErrorCode } from '../base/errors.ts';

/** The kinds of refusals, as the wire and the metrics name them: few, because each is a time series. */
export const REFUSAL_REASONS = [
  'deadline_unreachable',
  'quota',
  'overloaded',
  'unknown_task',
  'untrusted',
  'isolation_unavailable',
  'not_supported',
  'bad_request',
  'stopping',
  'cancelled',
  'failed',
] as const;

export type RefusalReason = (typeof REFUSAL_REASONS)[number];

const REASONS: Partial<Record<number, RefusalReason>> = {
  [ErrorCode.DeadlineUnreachable]: 'deadline_unreachable',
  [ErrorCode.BudgetSpentInQueue]: 'deadline_unreachable',
  [ErrorCode.GuestDeadline]: 'deadline_unreachable',
  [ErrorCode.QuotaSpent]: 'quota',
  [ErrorCode.TooManyFromTenant]: 'quota',
  [ErrorCode.PushQuotaSpent]: 'quota',
  [ErrorCode.TooManyConnections]: 'quota',
  [ErrorCode.QueueFull]: 'overloaded',
  [ErrorCode.TenderUnavailable]: 'overloaded',
  [ErrorCode.PackageQuarantined]: 'overloaded',
  [ErrorCode.UnknownPackage]: 'unknown_task',
  [ErrorCode.Unauthenticated]: 'untrusted',
  [ErrorCode.CertificateRevoked]: 'untrusted',
  [ErrorCode.TaskForbidden]: 'untrusted',
  [ErrorCode.TaskRevoked]: 'untrusted',
  [ErrorCode.PushForbidden]: 'untrusted',
  [ErrorCode.IsolationUnavailable]: 'isolation_unavailable',
  [ErrorCode.NotSupported]: 'not_supported',
  [ErrorCode.BadOffloadRequest]: 'bad_request',
  [ErrorCode.BadPushRequest]: 'bad_request',
  [ErrorCode.TenderInputTooLarge]: 'bad_request',
  [ErrorCode.TaskRefusedInput]: 'bad_request',
  [ErrorCode.StateElsewhere]: 'not_supported',
  [ErrorCode.StateForbidden]: 'untrusted',
  [ErrorCode.StateNotKept]: 'overloaded',
  [ErrorCode.StateConflict]: 'overloaded',
  [ErrorCode.UnknownStateKey]: 'bad_request',
  [ErrorCode.BrokerStopping]: 'stopping',
  [ErrorCode.OffloadCancelled]: 'cancelled',
};

/** A code that is not listed means that the offload was begun and did not come to a good end. */
export function reasonOf(code: number): RefusalReason {
  return REASONS[code] ?? 'failed';
}

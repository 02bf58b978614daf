import { status } from '@grpc/grpc-js';
import { ErrorCode, isKerbError, messageOf } from '../../../shared/base/errors.ts';

const statusOf: Partial<Record<number, status>> = {
  [ErrorCode.KuksaUnauthenticated]: status.UNAUTHENTICATED,
  [ErrorCode.UnknownSignal]: status.NOT_FOUND,
  [ErrorCode.NotGranted]: status.PERMISSION_DENIED,
  [ErrorCode.BadGatewayRequest]: status.INVALID_ARGUMENT,
  [ErrorCode.BadSignalValue]: status.INVALID_ARGUMENT,
  [ErrorCode.SignalOutOfRange]: status.INVALID_ARGUMENT,
  [ErrorCode.NotAnActuator]: status.INVALID_ARGUMENT,
  [ErrorCode.TooManyRequests]: status.RESOURCE_EXHAUSTED,
  [ErrorCode.AlreadyProvided]: status.ALREADY_EXISTS,
  [ErrorCode.NoActuationProvider]: status.UNAVAILABLE,
  [ErrorCode.GatewayUnavailable]: status.UNAVAILABLE,
  [ErrorCode.BusDown]: status.UNAVAILABLE,
  [ErrorCode.BusWriteFailed]: status.UNAVAILABLE,
  [ErrorCode.ActuationTimedOut]: status.DEADLINE_EXCEEDED,
  [ErrorCode.ActuationRefused]: status.ABORTED,
};

/** What a program is told of an error. */
export interface StatusError extends Error {
  readonly code: status;
  readonly details: string;
}

export function toStatus(error: unknown): StatusError {
  const code = (isKerbError(error) ? statusOf[error.code] : undefined) ?? status.INTERNAL;
  const details = isKerbError(error) ? error.message : `unexpected error in the OBU: ${messageOf(error)}`;
  return Object.assign(new Error(details), { code, details });
}

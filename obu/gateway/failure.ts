/** What a container is told of an error, and what the OBU makes of one that it did not expect. */
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { kerbside } from '../../shared/protocol/generated/gateway.js';

export function failureOf(error: KerbError): kerbside.gateway.v1.Failure.$Properties {
  const { retryAfterMs, version } = error.context;
  return {
    code: error.code,
    message: error.message,
    retryAfterMs: typeof retryAfterMs === 'number' && retryAfterMs > 0 ? Math.ceil(retryAfterMs) : 0,
    ...(error.code === ErrorCode.StateConflict && typeof version === 'number' && { version }),
  };
}

/** Any other error is a defect of the OBU: the log gets its stack, the workload a sentence. */
export function toKerbError(error: unknown, log: Logger): KerbError {
  if (isKerbError(error)) return error;
  log.error({ err: error }, 'unexpected error in a gateway');
  return new KerbError(ErrorCode.GatewayDefect, `unexpected error in the OBU: ${messageOf(error)}; its log has more`);
}

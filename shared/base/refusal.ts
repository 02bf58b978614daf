import type { ErrorCode, KerbError } from './errors.ts';

/** Why something that was asked for is not done: what crosses the wire, and what every room hands to the next. */
export interface Refusal<Code extends number = number> {
  /** Of errors.ts; from the wire it may be one that only a newer version knows. */
  readonly code: Code;
  /** One sentence for the asker. */
  readonly message: string;
  /** When it may be worth another try, in milliseconds; 0: no hint. */
  readonly retryAfterMs: number;
  /** Key of the quota in the broker's policy that is spent. */
  readonly quota?: string;
  /** Id of a broker that may take it. */
  readonly tryBroker?: string;
}

export function refusal(code: ErrorCode, message: string, retryAfterMs = 0): Refusal<ErrorCode> {
  return { code, message, retryAfterMs };
}

/** A refusal as protobuf decodes it: what the peer left out is missing or null. */
export interface RefusalFields {
  readonly code?: number | null;
  readonly message?: string | null;
  readonly retryAfterMs?: number | null;
  readonly quota?: string | null;
  readonly tryBroker?: string | null;
}

export function refusalFrom({ code, message, retryAfterMs, quota, tryBroker }: RefusalFields): Refusal {
  return {
    code: code ?? 0,
    message: message ?? '',
    retryAfterMs: retryAfterMs ?? 0,
    ...(quota && { quota }),
    ...(tryBroker && { tryBroker }),
  };
}

/** With the hint of `context.retryAfterMs`, when that is one; whole milliseconds, because the wire has no others. */
export function refusalOf({ code, message, context }: KerbError): Refusal<ErrorCode> {
  const hint = Number(context.retryAfterMs);
  return refusal(code, message, hint > 0 && Number.isFinite(hint) ? Math.ceil(hint) : 0);
}

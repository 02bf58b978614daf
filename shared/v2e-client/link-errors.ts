/** What goes wrong on the connection to a broker, in sentences. */

import type { Deadline } from '../base/deadline.ts';
import { ErrorCode, KerbError } from '../base/errors.ts';

export function connectionLost(broker: string, deadline: Deadline, reason: string): KerbError {
  const after = Math.round(deadline.elapsedMs());
  return new KerbError(
    ErrorCode.BrokerLost,
    `the connection to broker ${broker} was lost ${after} ms into the offload (${reason}); the same id may be sent again`,
    { broker, reason },
  );
}

export function budgetExhausted(broker: string, deadline: Deadline, how: string): KerbError {
  return new KerbError(ErrorCode.BudgetExhausted, `the budget of ${deadline.budgetText} ${how}`, {
    broker,
    budgetMs: deadline.originalMs,
  });
}

/** The most telling sentence of what socket.io, engine.io, ws and TLS have wrapped into one another. */
export function describeConnectError(error: Error): string {
  const { description } = error as Error & { description?: { error?: NodeJS.ErrnoException; message?: string } };
  const cause = description?.error;
  const text = cause?.message || cause?.code || description?.message || error.message;
  if (/alert (certificate|unknown ca|bad certificate|handshake)|certificate required/i.test(text)) {
    return `the broker refused our certificate (${text})`;
  }
  if (/^self.signed certificate|unable to (verify|get)/i.test(text)) {
    return `the broker's certificate was not issued by a trusted authority (${text})`;
  }
  return text;
}

/** It is older than the state of sessions, and would run the task without it. */
export function keepsNoState(broker: string): KerbError {
  return new KerbError(ErrorCode.NotSupported, `broker ${broker} does not keep the state of sessions`, { broker });
}

/** What goes wrong on the connection to a broker, in sentences. */
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { OffloadRequest } from './offloader.ts';
import { budgetOf } from './refusal.ts';

/** @param startedAt `performance.now()` when the offload was asked for */
export function connectionLost(broker: string, startedAt: number, reason: string): KerbError {
  const after = Math.round(performance.now() - startedAt);
  return new KerbError(
    ErrorCode.BrokerLost,
    `the connection to broker ${broker} was lost ${after} ms into the offload (${reason}); the same id may be sent again`,
    { broker, reason },
  );
}

export function budgetExhausted(broker: string, request: OffloadRequest, how: string): KerbError {
  return new KerbError(ErrorCode.BudgetExhausted, `the budget of ${budgetOf(request)} ${how}`, {
    broker,
    budgetMs: request.askedMs ?? request.budgetMs,
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
    return `the broker's certificate comes from no authority that is believed here (${text})`;
  }
  return text;
}

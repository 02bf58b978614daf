/** Why an offload is not run here. */
import type { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';
import type { AnyOffload, PendingOffload, Runnable, WithdrawnTask } from './offload.ts';

export function stopping(): Refusal {
  return refusal(ErrorCode.BrokerStopping, 'this broker is stopping; use another one');
}

export function unknownPackage(taskDigest: string): Refusal {
  const message = `this broker has no task package ${taskDigest}; its announcement lists what it has`;
  return refusal(ErrorCode.UnknownPackage, message);
}

/** A tenant that may not see a task is told the same as of one that is not there. Undefined: the tenant may run it. */
export function forbidden(
  { tenant, taskDigest }: AnyOffload,
  task: Runnable | WithdrawnTask | undefined,
): Refusal | undefined {
  if (task === undefined || !task.maySee(tenant)) return unknownPackage(taskDigest);
  if ('why' in task) return task.why;
  if (task.mayRun(tenant)) return undefined;
  const message = `tenant ${tenant} may not run ${task.name} here; the tenant that pushed it, or the operator, can share it (shares.run of its policy)`;
  return refusal(ErrorCode.TaskForbidden, message);
}

export function inputTooLarge({ input }: AnyOffload, { name, maxInput }: Runnable): Refusal {
  const message = `${input.length} bytes of input are more than the ${maxInput} that ${name} takes`;
  return refusal(ErrorCode.TenderInputTooLarge, message);
}

/** A pool that has had no tender yet finds out with its first one. */
export function lacksIsolation({ isolation }: AnyOffload, { name, pool }: Runnable): Refusal | undefined {
  if (isolation !== 'vm' || pool.isolation === 'vm' || pool.isolation === '') return undefined;
  const message = `isolation vm is demanded; ${name} has isolation ${pool.isolation} here: use another broker`;
  return refusal(ErrorCode.IsolationUnavailable, message);
}

/** It can never be run here for this caller, whatever is free. */
export function unfitFor(
  offload: AnyOffload,
  runnable: Runnable | undefined,
  withdrawn: WithdrawnTask | undefined,
): Refusal | undefined {
  const notFor = forbidden(offload, runnable ?? withdrawn);
  if (runnable === undefined || notFor !== undefined) return notFor ?? unknownPackage(offload.taskDigest);
  if (offload.input.length > runnable.maxInput) return inputTooLarge(offload, runnable);
  return lacksIsolation(offload, runnable);
}

export function otherOffload({ id }: AnyOffload): Refusal {
  const message = `the id ${id} belongs to another offload of this vehicle, with another task or input; choose a new id`;
  return refusal(ErrorCode.BadOffloadRequest, message);
}

/** In quarantine everything is refused at once: the wait would be long, and its end is uncertain. */
export function blockedTooLong({ deadline }: AnyOffload, { name, pool }: Runnable, now: number): Refusal | undefined {
  const blocked = pool.blocked(now);
  if (blocked === undefined) return undefined;
  const { code, message, retryAfterMs } = blocked;
  const quarantined = code === ErrorCode.PackageQuarantined && retryAfterMs > 0;
  if (!quarantined && retryAfterMs < deadline.originalMs) return undefined;
  const hint = Number.isFinite(retryAfterMs) ? Math.ceil(retryAfterMs) : 0;
  return { code, message: `${name} cannot be run here now: ${message}`, retryAfterMs: hint };
}

export function waitedTooLong({ deadline }: PendingOffload, waitedMs: number): Refusal {
  const waited = `${Math.round(waitedMs)} ms`;
  if (waitedMs < deadline.originalMs) {
    const message = `of the budget of ${deadline.budgetText}, too little was left for a run after ${waited} in the queue; it was not run`;
    return refusal(ErrorCode.DeadlineUnreachable, message);
  }
  const message = `the budget of ${deadline.budgetText} was spent in the queue (${waited}); it was not run`;
  return refusal(ErrorCode.BudgetSpentInQueue, message);
}

/** For one of several callers, whose time is over before that of the others. @param runs it has been begun */
export function callerTooLate({ id }: PendingOffload, deadline: Deadline, runs: boolean): Refusal {
  const code = runs ? ErrorCode.GuestDeadline : ErrorCode.BudgetSpentInQueue;
  const message = `the budget of ${deadline.budgetText} was spent before the offload ${id} ended, which another caller waits for`;
  return refusal(code, message);
}

export function cancelled({ id }: PendingOffload, why: string): Refusal {
  return refusal(ErrorCode.OffloadCancelled, `the offload ${id} was cancelled: ${why}`);
}

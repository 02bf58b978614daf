import type { Refusal } from '../../shared/base/refusal.ts';
import type { Admission } from '../admission/admission.ts';
import type { Answers } from './answers.ts';
import type { Flights } from './callers.ts';
import type { PendingOffload, Runnable } from './offload.ts';
import { unknownPackage } from './refusals.ts';
import type { SessionHost, Sessions } from './sessions.ts';

export interface SessionHostParts {
  readonly admission: Admission<PendingOffload>;
  readonly answers: Answers;
  readonly flights: Flights;
  readonly runnables: ReadonlyMap<string, Runnable>;
  /** It waits in the queue from now on. */
  readonly admitted: (runnable: Runnable, now: number) => void;
}

/** Offloads with state are taken from now on. */
export function serveSessions(sessions: Sessions, parts: SessionHostParts): void {
  parts.answers.sessions = sessions;
  parts.flights.onStateEnd = (flight) => sessions.ended(flight);
  sessions.serve(sessionHost(parts));
}

/** The queue and the answers, as offloads with state use them. */
function sessionHost({ admission, answers, runnables, admitted }: SessionHostParts): SessionHost {
  const withTask = (flight: PendingOffload, run: (runnable: Runnable) => Refusal | undefined) => {
    const runnable = runnables.get(flight.taskDigest);
    const why = runnable === undefined ? unknownPackage(flight.taskDigest) : run(runnable);
    if (why !== undefined) answers.fail(flight, runnable, why);
  };
  return {
    fail: (flight, why) => answers.fail(flight, runnables.get(flight.taskDigest), why),
    admit: (flight) =>
      withTask(flight, (runnable) => {
        const now = performance.now();
        const why = admission.admit(flight, now);
        if (why === undefined) admitted(runnable, now);
        return why;
      }),
    replay: (flight, result, startedAt) =>
      withTask(flight, (runnable) => {
        answers.deliver(runnable, flight, result, startedAt);
        return undefined;
      }),
  };
}

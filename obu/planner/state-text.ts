/** Sentences that say why a workload is in its state. */
import type { Workload } from '../manifest/workload.ts';
import { sentence, sentenceOfParts } from './resources/capacity.ts';
import { CRASH_LOOP_ENDS, isFailure } from './restart.ts';
import type { Claim, End, ObservedContainer, WorkloadRecord, WorkloadState } from './state.ts';
import type { PendingUpdate } from './version.ts';

export function stateOf(container: ObservedContainer): WorkloadState {
  switch (container.state) {
    case 'running':
      return runningState(container.health);
    case 'paused':
      return { state: 'Frozen', detail: 'outside', reason: 'its container was paused from outside the OBU' };
    case 'created':
    case 'restarting':
      return { state: 'Pending', detail: 'Starting', reason: 'its container is being started' };
    default:
      return { state: 'Stopping', detail: '', reason: 'its container is going away' };
  }
}

function runningState(health: ObservedContainer['health']): WorkloadState {
  switch (health) {
    case 'unhealthy':
      return { state: 'Running', detail: 'Unhealthy', reason: 'its container runs, and its health check fails' };
    case 'starting':
      return {
        state: 'Running',
        detail: 'Starting',
        reason: 'its container runs; its health check has no result yet',
      };
    case 'healthy':
      return { state: 'Running', detail: 'Ok', reason: 'its container runs and is healthy' };
    case 'none':
      return { state: 'Running', detail: 'Ok', reason: 'its container runs' };
  }
}

export function withNote(state: WorkloadState, note: string): WorkloadState {
  return { ...state, reason: `${state.reason}; ${note}` };
}

export function insteadOf(state: WorkloadState, instead: PendingUpdate | undefined): WorkloadState {
  return instead === undefined ? state : { ...withNote(state, instead.note), update: instead.update };
}

export function sentenceOf(end: End): string {
  switch (end.kind) {
    case 'out-of-memory':
      return 'it used more memory than its mem_limit (without one: than the others leave) and was killed';
    case 'could-not-start':
      return `the engine could not start it: ${end.message}`;
    case 'exited':
      return end.exitCode > 128 && end.exitCode < 160
        ? `it was ended by signal ${end.exitCode - 128} (exit code ${end.exitCode})`
        : `it ended with exit code ${end.exitCode}`;
  }
}

function detailOf(end: End): string {
  return { 'out-of-memory': 'OutOfMemory', 'could-not-start': 'CannotStart', exited: 'ExitCode' }[end.kind];
}

export function backingOff(end: End, failures: number, waitMs: number): WorkloadState {
  const loop = failures >= CRASH_LOOP_ENDS;
  return {
    state: 'Pending',
    detail: loop ? 'CrashLoop' : 'BackingOff',
    reason:
      `${sentenceOf(end)}; that was the ${ordinal(failures)} time in a row, ` +
      `and it is started again ${Math.round(waitMs / 100) / 10} s after it`,
  };
}

export function finalState(end: End, memory: WorkloadRecord, never: boolean): WorkloadState {
  if (!isFailure(end)) return { state: 'Succeeded', detail: '', reason: 'it ended with exit code 0' };
  const policy = never ? 'its restart policy is `no`' : `that was the ${ordinal(memory.failures)} time in a row`;
  return {
    state: 'Failed',
    detail: detailOf(end),
    reason: `${sentenceOf(end)}; ${policy}, so it is not started again`,
  };
}

export function ordinal(n: number): string {
  const teen = n % 100 >= 11 && n % 100 <= 13;
  return `${n}${teen ? 'th' : (['th', 'st', 'nd', 'rd'][n % 10] ?? 'th')}`;
}

/** The reason why a workload of lower priority was frozen or stopped: "to make room for …". */
export function madeRoomFor({ name, priority }: Workload, missing: Claim, capacity: Claim): string {
  const what = `${sentenceOfParts(missing)} of ${sentence(capacity)}`;
  return `to make room for ${name} (priority ${priority}), for which ${what} were missing`;
}

/** @param why what follows the numbers; empty when nothing but they is the reason */
export function noRoom(workload: Workload, need: Claim, free: Claim, capacity: Claim, why: string): string {
  const lacking = [
    ...(workload.memLimit === undefined ? ['mem_limit'] : []),
    ...(workload.cpus === undefined ? ['cpus'] : []),
  ];
  // Says so when a number is not the manifest's.
  const counted = `(it declares no ${lacking.join(' and no ')}, so that is what it counts as)`;
  const needs = `it needs ${sentenceOfParts(need)}${lacking.length === 0 ? '' : ` ${counted}`}`;
  const left: Claim = { memory: Math.max(0, free.memory), cpus: Math.max(0, free.cpus) };
  const lower = ', and what of lower priority may be frozen or stopped does not make enough room';
  return `${needs}; ${sentence(left)} of ${sentence(capacity)} are free${why || lower}`;
}

import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import type { Desired, WorkloadState } from '../../planner/state.ts';

const NOT_LOOKED_AT: WorkloadState = {
  state: 'Pending',
  detail: 'Starting',
  reason: 'the OBU has not looked at it yet',
};

/** The states of workloads, as the last plan has them. */
export class KnownStates {
  #states: ReadonlyMap<string, WorkloadState> = new Map();

  /** @returns those of before */
  replace(states: ReadonlyMap<string, WorkloadState>): ReadonlyMap<string, WorkloadState> {
    const before = this.#states;
    this.#states = states;
    return before;
  }

  /** @param answers Whether the engine does, since it has last been lost. */
  of(workload: string, answers: boolean): WorkloadState {
    const known = this.#states.get(workload);
    if (known === undefined) return NOT_LOOKED_AT;
    if (answers) return known;
    return { ...known, reason: `${known.reason}; so it was before the engine stopped answering`, isOld: true };
  }

  /** Forgets what is no longer true when something else is wanted. */
  follow(before: readonly Desired[], desired: readonly Desired[]): void {
    const wanted = new Map(before.map((one) => [one.workload.name, JSON.stringify(one)]));
    const states = new Map(this.#states);
    for (const one of desired) {
      const { name } = one.workload;
      // What is known of it is about something else; and an image may have come with the manifest.
      const isOutdated = wanted.get(name) !== JSON.stringify(one) || states.get(name)?.detail === 'ImageMissing';
      if (isOutdated) states.delete(name);
    }
    this.#states = states;
  }
}

/** @throws KerbError UnknownWorkload when the manifest has none of this name */
export function mustBeWanted(workload: string, desired: readonly Desired[]): void {
  if (desired.some((one) => one.workload.name === workload)) return;
  const known = desired.map((one) => one.workload.name).join(', ') || 'none';
  throw new KerbError(ErrorCode.UnknownWorkload, `there is no workload "${workload}"; there is ${known}`, { workload });
}

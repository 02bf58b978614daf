/** What the state of a workload says, by one rule for those who read it over the API and for the OBU itself. */
import type { WorkloadStatus } from './status.ts';

/** A state, and what is known about it. */
export type SeenState = Pick<WorkloadStatus, 'state' | 'detail' | 'update' | 'isOld' | 'displacedBy'>;

/** "Running(Ok)". */
export function stateWord({ state, detail }: Pick<WorkloadStatus, 'state' | 'detail'>): string {
  return detail === '' ? state : `${state}(${detail})`;
}

/**
 * Whether it is what a person who applies a manifest wants to see in the end: it runs and nothing says that it is ill, or
 * it has done its work. One that nobody can look at now says nothing. An update may still wait until the vehicle is parked;
 * one that is being tried is not over, and one that was rolled back is not what the manifest wants.
 */
export function isWell({ state, detail, update, isOld }: SeenState): boolean {
  if (isOld === true || update === 'handing-over' || update === 'rolled-back') return false;
  return state === 'Succeeded' || (state === 'Running' && detail === 'Ok');
}

/** It does not run because workloads of higher priority have its room, which is what the manifest says. */
export function isDisplaced({ displacedBy, isOld }: SeenState): boolean {
  return isOld !== true && displacedBy !== undefined && displacedBy.length > 0;
}

/** A person froze it, and it stays so until a person thaws it: no manifest changes that. */
export function isFrozenByPerson({ state, detail, isOld }: SeenState): boolean {
  return isOld !== true && state === 'Frozen' && detail === 'person';
}

/**
 * Whether it speaks for the manifest, so that this may count as one to go back to: what the manifest wants has been tried and
 * is well, or makes room as it says. A container of before that goes on while its update waits proves nothing.
 */
export function speaksForManifest(seen: SeenState): boolean {
  return isDisplaced(seen) || (isWell(seen) && seen.update === undefined);
}

import type { WorkloadStatus } from './status.ts';

type Seen = { readonly state: string; readonly detail: string } & Pick<WorkloadStatus, 'isOld'>;

/**
 * Whether a state is what a person wants in the end: it runs and nothing says that it is ill, or it has done its work. One
 * that nobody can look at now says nothing. What that says about an update is another question, which depends on who asks.
 */
export function isWellState({ state, detail, isOld }: Seen): boolean {
  return isOld !== true && (state === 'Succeeded' || (state === 'Running' && detail === 'Ok'));
}

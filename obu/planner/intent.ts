/** What one workload needs next: the value that lifecycle.ts makes and admit.ts finds room for. */
import { clear } from './containers.ts';
import type { Desired, ObservedContainer, Step, Version, WorkloadRecord, WorkloadState } from './state.ts';
import { versionOf } from './version.ts';

/** Something that takes room which is not taken yet. */
export type RoomRequest =
  | { readonly kind: 'start'; readonly version: Version; readonly gateway: string; readonly why: string }
  | { readonly kind: 'thaw'; readonly containers: readonly ObservedContainer[]; readonly why: string };

export interface Intent {
  readonly desired: Desired;
  /** The one that is to run; undefined when it cannot be said. */
  readonly version: Version | undefined;
  readonly record: WorkloadRecord;
  readonly state: WorkloadState;
  /** Steps that need no room. */
  readonly steps: readonly Step[];
  /** Containers that are still there after these steps. */
  readonly holds: readonly ObservedContainer[];
  readonly request: RoomRequest | undefined;
  /** It is to be started again soon: the room that it used is kept for it. */
  readonly keepsRoom: boolean;
}

/** The parts of an intent that are not the usual ones. */
export type Outcome = Partial<Pick<Intent, 'steps' | 'holds' | 'request' | 'keepsRoom' | 'version'>> &
  Pick<Intent, 'record' | 'state'>;

/** @param own containers of this workload */
export function makeIntent(desired: Desired, own: readonly ObservedContainer[], outcome: Outcome): Intent {
  const defaults = { version: undefined, steps: [], request: undefined, keepsRoom: false };
  const holds = outcome.holds ?? [];
  // One that the engine is removing still has its memory.
  const going = own.filter((one) => one.state === 'removing' && !holds.includes(one));
  return { desired, ...defaults, ...outcome, holds: [...holds, ...going] };
}

/**
 * Serves the gateway of a container that an OBU before us started.
 * @param served ids of the containers whose gateway is being served
 */
export function adoptSteps(
  container: ObservedContainer,
  desired: Desired,
  record: WorkloadRecord,
  served: ReadonlySet<string>,
): Step[] {
  if (container.state !== 'running' || served.has(container.id)) return [];
  const known = container.configHash === desired.configHash ? desired : versionOf(container, record);
  // Nobody knows what this one was granted: it is served nothing.
  if (known === undefined) return [];
  return [{ step: 'adopt', desired: known, container, why: 'it was started by an earlier run of this OBU' }];
}

export function clearAll(containers: readonly ObservedContainer[], why: string): Step[] {
  return containers.flatMap((container) => clear(container, why));
}

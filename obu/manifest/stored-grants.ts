import { parseFilter } from '../../shared/can/filter.ts';
import { parseCondition } from '../../shared/vss/condition.ts';
import { parseScope } from '../../shared/vss/scopes.ts';
import type { CanGrant, Grants, Workload } from './workload.ts';

export interface StoredCanGrant extends Omit<CanGrant, 'read' | 'when'> {
  readonly read: readonly string[];
  readonly when?: string | undefined;
}

/** Grants as they come back from JSON: scopes, filters and conditions are their texts. */
export interface StoredGrants extends Omit<Grants, 'signals' | 'can' | 'offload'> {
  readonly signals: readonly string[];
  readonly can: readonly StoredCanGrant[];
  readonly offload?: Grants['offload'];
}

/** A workload as it comes back from JSON. */
export type StoredWorkload = Omit<Workload, 'grants'> & { readonly grants: StoredGrants };

/** @throws KerbError BadSignalScope | BadCanFilter | BadCondition */
export function readGrants(stored: StoredGrants): Grants {
  return {
    ...stored,
    signals: stored.signals.map(parseScope),
    can: stored.can.map(readCanGrant),
    offload: stored.offload,
  };
}

/** @throws KerbError BadCanFilter | BadCondition */
export function readCanGrant(stored: StoredCanGrant): CanGrant {
  const when = stored.when === undefined ? undefined : parseCondition(stored.when);
  return { ...stored, read: stored.read.map(parseFilter), when };
}

/** In JSON again it is what it was. @throws KerbError as readGrants */
export function readWorkload(stored: StoredWorkload): Workload {
  return { ...stored, grants: readGrants(stored.grants) };
}

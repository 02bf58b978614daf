import type { AuditedAction } from '../telemetry/audit-log.ts';

export type ForwardedKind = 'package' | 'result' | 'claim' | 'state';
/** `refused`: the other end does not want it; `failed`: it was not there, or broke off, and is tried again. */
export type ForwardedResult = 'taken' | 'there' | 'refused' | 'failed' | 'dropped';

/** Told of everything that neighbours do for each other. */
export interface NeighbourEvents {
  forwarded(kind: ForwardedKind, neighbour: string, result: ForwardedResult): void;
  fetched(kind: ForwardedKind, neighbour: string, result: ForwardedResult): void;
  audit(action: AuditedAction): void;
}

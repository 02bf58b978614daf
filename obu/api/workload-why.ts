import type { WorkloadStatus } from '../../shared/api/status.ts';

/** Why a workload is in its state, for people; of one that was displaced by whom comes first. */
export function workloadWhy({ reason, displacedBy = [] }: Pick<WorkloadStatus, 'reason' | 'displacedBy'>): string {
  return displacedBy.length === 0 ? reason : `displaced by ${displacedBy.join(', ')}: ${reason}`;
}

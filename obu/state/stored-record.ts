import { readWorkload, type StoredWorkload } from '../manifest/stored-grants.ts';
import type { Version, WorkloadRecord } from '../planner/state.ts';

type StoredVersion = Omit<Version, 'workload'> & { readonly workload: StoredWorkload };

/** What the planner remembers of one workload, as it comes back from JSON. What was undefined is missing. */
export interface StoredRecord extends Omit<WorkloadRecord, 'version' | 'good'> {
  readonly version?: StoredVersion;
  readonly good?: StoredVersion;
}

/** In JSON again it is what it was. @throws KerbError BadSignalScope | BadCanFilter | BadCondition */
export function readRecord(stored: StoredRecord): WorkloadRecord {
  const version = stored.version && readVersion(stored.version);
  const good = stored.good && readVersion(stored.good);
  return { ...stored, version, good };
}

function readVersion(stored: StoredVersion): Version {
  return { ...stored, workload: readWorkload(stored.workload) };
}

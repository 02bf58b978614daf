import { isFailure, wantsRestart } from './restart.ts';
import type { ObservedContainer, Version, WorkloadRecord } from './state.ts';
import { sentenceOf } from './state-text.ts';
import { sameVersion } from './version.ts';

/** An update that never was well is taken back after so many ends in a row. */
export const UPDATE_TRIES = 3;

/** Why the update to this version has failed; undefined when it has not, or when it was well before. */
export function updateFault(
  record: WorkloadRecord,
  version: Version,
  current: ObservedContainer | undefined,
): string | undefined {
  if (record.good !== undefined && sameVersion(record.good, version)) return undefined;
  if (current?.state === 'running' && current.health === 'unhealthy') return 'its health check failed';
  const end = record.lastEnd;
  if (end === undefined || current?.state === 'running') return undefined;
  if (record.failures >= UPDATE_TRIES) return `${sentenceOf(end)}, ${record.failures} times in a row`;
  if (wantsRestart(version.workload.restart, end, record.failures) || !isFailure(end)) return undefined;
  return sentenceOf(end);
}

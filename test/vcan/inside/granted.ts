/** Workloads with a CAN interface; apart from what runs them, which takes an emulated kernel many seconds to load. */
import { readCanGrant, type StoredCanGrant } from '../../../obu/manifest/stored-grants.ts';
import type { CanWrite, Workload } from '../../../obu/manifest/workload.ts';
import { workloadOf } from '../../support/workload.ts';

export const IMAGE = 'kerbside-test-can:1';

/** What the workloads `some` and `all` are granted: filters that overlap, with which a frame still comes once; and all, to read. */
export const GRANTS = {
  some: { read: ['100:C0000700', '123:7FF'], write: ['3E9'] },
  all: { read: ['0:0'], write: [] },
} as const;

export const listed = (id: number): CanWrite => ({ id, ext: false, length: undefined, maxPerSecond: undefined });

/** A workload with this grant. */
export function dumper(name: string, grant: Partial<StoredCanGrant>): Workload {
  return workloadOf({
    name,
    image: IMAGE,
    grants: {
      signals: [],
      cameras: [],
      offload: undefined,
      can: [readCanGrant({ bus: 'can0', read: [], write: [], as: 'interface', ...grant })],
    },
  });
}

import { describe, expect, it } from 'vitest';
import { parseManifest } from '../manifest/manifest.ts';
import { displacedBy } from './displaced.ts';
import { dueMs, PROVE_MS } from './due.ts';
import { newRecord } from './restart.ts';
import type { Preempted, WorkloadRecord, WorkloadState } from './state.ts';

const MiB = 2 ** 20;
const at = (word: string): WorkloadState => {
  const [state, detail = ''] = word.split('/');
  return { state: state as WorkloadState['state'], detail, reason: '' };
};
const preempted = (by: string, more: Partial<Preempted> = {}): WorkloadRecord => ({
  ...newRecord,
  preempted: { how: 'stop', cause: 'capacity', by, why: '', atMs: 0, roomSinceMs: undefined, ...more },
});

/** Three workloads of 600, 200 and 500 MiB, from the lowest priority up, on a board with 1000. */
function displacers(name: string, states: Record<string, string>, memory: Record<string, WorkloadRecord> = {}) {
  const text =
    'services:\n  maps: { image: x, mem_limit: 600m, x-obu: { priority: 0 } }\n  music: { image: x, mem_limit: 200m, x-obu: { priority: 100 } }\n' +
    '  peer: { image: x, mem_limit: 600m, x-obu: { priority: 0 } }\n  adas: { image: x, mem_limit: 500m, x-obu: { priority: high } }\n' +
    '  huge: { image: x, mem_limit: 2g, x-obu: { priority: 0 } }\n';
  return displacedBy(name, {
    workloads: parseManifest(text, 'car.yaml'),
    state: (one) => at(states[one] ?? 'Pending/NoCapacity'),
    memory: (one) => memory[one] ?? newRecord,
    capacity: { memory: 1000 * MiB, cpus: 4 },
    undeclared: { memory: 64 * MiB, cpus: 0.1 },
  });
}

describe('a workload is displaced', () => {
  const busy = { adas: 'Running/Ok', music: 'Running/Ok' };

  it('by the one that it was stopped or frozen for', () => {
    expect(displacers('maps', busy, { maps: preempted('adas') })).toEqual(['adas']);
    expect(displacers('maps', { ...busy, maps: 'Frozen/adas' }, { maps: preempted('adas') })).toEqual(['adas']);
  });

  it('by those of higher priority that have its room from the start', () => {
    expect(displacers('maps', busy)).toEqual(['adas', 'music']);
    expect(displacers('maps', { adas: 'Pending/Starting' })).toEqual(['adas']);
  });

  it('by nobody when it runs, fails, never fits, is frozen by a person, or lacks room beside its equals', () => {
    for (const word of ['Running/Ok', 'Failed/ExitCode', 'Pending/BackingOff', 'Frozen/person', 'Frozen/outside']) {
      expect(displacers('maps', { ...busy, maps: word }, { maps: preempted('adas') })).toEqual([]);
    }
    expect(displacers('huge', busy)).toEqual([]);
    expect(displacers('maps', { peer: 'Running/Ok', music: 'Running/Ok' })).toEqual([]);
    expect(displacers('maps', { adas: 'Failed/ExitCode' })).toEqual([]);
    expect(displacers('nobody', busy)).toEqual([]);
  });

  it('by nobody when it was shed under pressure: its limits were not what the manifest promised', () => {
    const shed = preempted('memory-pressure', { cause: 'memory-pressure' });
    expect(displacers('maps', busy, { maps: shed })).toEqual([]);
  });
});

describe('what is due', () => {
  const ended = (failures: number): WorkloadRecord => ({
    ...newRecord,
    failures,
    lastEnd: { kind: 'exited', exitCode: 1, message: '', atMs: 10_000 },
  });

  it('is the end of a back-off, which doubles up to five minutes', () => {
    const due = (failures: number, nowMs = 10_000) => dueMs(at('Pending/BackingOff'), ended(failures), nowMs);
    expect([due(1), due(2), due(4), due(60)]).toEqual([500, 1000, 4000, 300_000]);
    expect([due(1, 10_400), due(1, 99_000), due(1, 0)]).toEqual([100, 0, 500]);
    expect(dueMs(at('Running/Ok'), ended(1), 10_000)).toBeUndefined();
    // It may have failed at once.
    expect(dueMs(at('Running/Ok'), ended(1), 10_000, 9_900)).toBe(PROVE_MS - 100);
    expect(dueMs(at('Running/Ok'), ended(1), 10_000, 10_000 - PROVE_MS)).toBeUndefined();
    expect(dueMs(at('Running/Ok'), ended(1), 10_000, 10_500)).toBe(PROVE_MS);
  });

  it('is the return of what made room, once there has been room', () => {
    const room = preempted('adas', { roomSinceMs: 10_000 });
    expect(dueMs(at('Pending/NoCapacity'), room, 12_000)).toBe(3000);
    expect(dueMs(at('Frozen/adas'), room, 12_000)).toBe(3000);
    expect(dueMs(at('Frozen/person'), room, 12_000)).toBeUndefined();
    expect(dueMs(at('Pending/NoCapacity'), preempted('adas'), 12_000)).toBeUndefined();
  });
});

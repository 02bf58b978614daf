/**
 * An OBU in the machine with vcan0 whose workloads have the bus as an interface: started from here by
 * inside-interface.ts, and run as a program of its own where it is to be killed.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseObuConfig } from '../../obu/config.ts';
import { type RunningObu, startObu } from '../../obu/main.ts';
import { workloadOf } from '../../obu/manifest/test-workload.ts';
import type { CanGrant, CanWrite, Workload } from '../../obu/manifest/workload.ts';
import { createLog } from '../../shared/log.ts';

export const IMAGE = 'kerbside-test-can:1';

export const listed = (id: number): CanWrite => ({ id, ext: false, length: undefined, maxPerSecond: undefined });

/** Programs that know nothing of an OBU: candump as soon as there is an interface. */
export function dumper(name: string, grant: Partial<CanGrant>): Workload {
  const waits = 'until [ -e /sys/class/net/can0 ]; do sleep 0.05; done';
  return workloadOf({
    name,
    image: IMAGE,
    command: ['sh', '-c', `${waits}; echo started >> /data/starts; exec candump -L can0 >> /data/dump.log`],
    restart: { policy: 'always' },
    grants: {
      ...{ signals: [], cameras: [], offload: undefined },
      can: [{ bus: 'can0', read: [], write: [], as: 'interface', when: undefined, ...grant }],
    },
  });
}

export const workloads: readonly Workload[] = [
  // Filters that overlap: a frame still comes once.
  dumper('some', { read: ['100:C0000700', '123:7FF'], write: [listed(0x3e9)] }),
  dumper('all', { read: ['0:0'] }),
  dumper('rated', { read: ['0:0'], write: [{ ...listed(0x3e9), maxPerSecond: 10 }] }),
];

export function serve(folder: string): Promise<RunningObu> {
  mkdirSync(join(folder, 'state'), { recursive: true });
  const buses = { can0: { kind: 'socketcan', interface: 'vcan0' } };
  const config = parseObuConfig(JSON.stringify({ vehicle: 'car', obu: 'obu-1', buses }), join(folder, 'obu.yaml'));
  const log = createLog('obu');
  return startObu({ config, workloads, state: join(folder, 'state'), api: apiOf(folder), log });
}

export function apiOf(folder: string): string {
  return join(folder, 'api.sock');
}

if (import.meta.main) await serve(process.argv[2]!);

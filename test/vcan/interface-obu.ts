/**
 * An OBU in the machine with vcan0 whose workloads have the bus as an interface: started from here by
 * inside-interface.ts, and run as a program of its own where it is to be killed.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseObuConfig } from '../../obu/config/config.ts';
import { type RunningObu, startObu } from '../../obu/main.ts';
import { readCanGrant, type StoredCanGrant } from '../../obu/manifest/stored-grants.ts';
import type { CanWrite, Workload } from '../../obu/manifest/workload.ts';
import { createLog } from '../../shared/base/log.ts';
import { workloadOf } from '../support/workload.ts';

export const IMAGE = 'kerbside-test-can:1';
/** A program that knows nothing of an OBU: candump as soon as there is an interface. */
const COMMAND = [
  'sh',
  '-c',
  'until [ -e /sys/class/net/can0 ]; do sleep 0.05; done; echo started >> /data/starts; exec candump -L can0 >> /data/dump.log',
];

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

const manifest = `
services:
  some:
    image: ${IMAGE}
    command: ${JSON.stringify(COMMAND)}
    restart: always
    # Filters that overlap: a frame still comes once.
    x-obu: { grants: { can: [{ bus: can0, read: ["100:C0000700", "123:7FF"], write: [{ id: "3E9" }], as: interface }] } }
  all:
    image: ${IMAGE}
    command: ${JSON.stringify(COMMAND)}
    restart: always
    x-obu: { grants: { can: [{ bus: can0, read: ["0:0"], as: interface }] } }
`;

export function serve(folder: string): Promise<RunningObu> {
  mkdirSync(join(folder, 'state'), { recursive: true });
  const buses = { can0: { kind: 'socketcan', interface: 'vcan0' } };
  const config = parseObuConfig(JSON.stringify({ vehicle: 'car', obu: 'obu-1', buses }), join(folder, 'obu.yaml'));
  const log = createLog('obu');
  return startObu({
    config,
    manifest: { file: 'test.yaml', text: manifest },
    state: join(folder, 'state'),
    api: apiOf(folder),
    log,
  });
}

export function apiOf(folder: string): string {
  return join(folder, 'api.sock');
}

if (import.meta.main) await serve(process.argv[2]!);

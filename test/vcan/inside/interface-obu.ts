/**
 * An OBU in the machine with vcan0 whose workloads have the bus as an interface: started from here by
 * engine.ts, and run as a program of its own where it is to be killed.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseObuConfig } from '../../../obu/config/config.ts';
import { type RunningObu, startObu } from '../../../obu/main.ts';
import { createLog } from '../../../shared/base/log.ts';
import { GRANTS, IMAGE } from './granted.ts';

/** A program that knows nothing of an OBU: candump as soon as there is an interface. */
const COMMAND = [
  'sh',
  '-c',
  'until [ -e /sys/class/net/can0 ]; do sleep 0.05; done; echo started >> /data/starts; exec candump -L can0 >> /data/dump.log',
];

function grantOf(name: keyof typeof GRANTS): string {
  const { read, write } = GRANTS[name];
  // A list that is empty is not to be written down.
  const writes = write.length === 0 ? {} : { write: write.map((id) => ({ id })) };
  return JSON.stringify({ bus: 'can0', read, ...writes, as: 'interface' });
}

const manifest = `
services:
  some:
    image: ${IMAGE}
    command: ${JSON.stringify(COMMAND)}
    restart: always
    x-obu: { grants: { can: [${grantOf('some')}] } }
  all:
    image: ${IMAGE}
    command: ${JSON.stringify(COMMAND)}
    restart: always
    x-obu: { grants: { can: [${grantOf('all')}] } }
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
